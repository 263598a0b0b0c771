"""Lists of keys whose private half is known to others: Debian's weak keys, keys of firmware, keys in public repositories."""

import hashlib
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from mmap import mmap

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from certwatch.model.certificate import Certificate

#: badkeys' blocklist: records of so many bytes of a hash, and one that says which list, in order.
HASH, RECORD = 15, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocklist:
    """In the format of badkeys (`badkeys --update-bl`)."""

    #: Bytes, or a file mapped into memory.
    records: bytes | mmap
    #: What the lists in it are called, by their number.
    names: Mapping[int, str] = field(default_factory=dict)

    def find(self, digest: bytes) -> str | None:
        """Which list has it."""
        wanted, records = digest[:HASH], self.records
        count = len(records) // RECORD
        at = RECORD * bisect_left(
            range(count), wanted, key=lambda each: records[each * RECORD : each * RECORD + HASH]
        )
        if at >= count * RECORD or records[at : at + HASH] != wanted:
            return None
        number = records[at + HASH]
        return self.names.get(number, f"number {number}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKeys:
    blocklists: tuple[Blocklist, ...] = ()
    #: SHA-256 of SubjectPublicKeyInfo, with the name of the file that says so.
    spki: Mapping[bytes, str] = field(default_factory=dict)
    #: The same for the same lists.
    digest: str = ""

    def __bool__(self) -> bool:
        return bool(self.blocklists or self.spki)

    def find(self, certificate: Certificate) -> str | None:
        """Which list has its key. None: none, or it has no key that can be read."""
        if certificate.spki_sha256 is not None and certificate.spki_sha256 in self.spki:
            return self.spki[certificate.spki_sha256]
        if not self.blocklists:
            return None
        number = _number(certificate.der)
        if number is None:
            return None
        digest = hashlib.sha256(number).digest()
        return next((name for each in self.blocklists if (name := each.find(digest)) is not None), None)


NO_KEYS = KnownKeys()


def _number(der: bytes) -> bytes | None:
    """What badkeys takes the hash of: the modulus, the point's x, y of DSA, else the key's bytes; without leading zeros."""
    try:
        key = x509.load_der_x509_certificate(der).public_key()
        if isinstance(key, rsa.RSAPublicKey):
            number = key.public_numbers().n
        elif isinstance(key, ec.EllipticCurvePublicKey):
            number = key.public_numbers().x
        elif isinstance(key, dsa.DSAPublicKey):
            number = key.public_numbers().y
        else:
            raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            # Of the newest, the bytes as they are; of Edwards curves a number.
            return raw.lstrip(b"\0") if len(raw) < 64 else raw
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
