"""Java's own keystores, JKS and JCEKS: aliases with key and chain, trusted certificates.

The format is that of `sun.security.provider.JavaKeyStore`. Certificates are in the clear: the passphrase is needed only
to check the digest at the end and to compare a key with its certificate, after which the key is dropped.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from certwatch.x509 import ber, der, private_keys
from certwatch.x509.containers import (
    MAX_CERTIFICATES,
    MAX_KEYS,
    Container,
    Entry,
    Problem,
    bundle,
    malformed,
    shown,
    unique,
)
from certwatch.x509.java_serialized import end_of_object
from certwatch.x509.pbe import Undecryptable, Work, decrypt_private_key, triple_des
from certwatch.x509.tlv import Unreadable

_JKS, _JCEKS = 0xFEEDFEED, 0xCECECECE
_KEY, _TRUSTED, _SECRET = 1, 2, 3
_DIGEST_SIZE = 20
#: What the digest begins with, after the passphrase.
_WHITENER = b"Mighty Aphrodite"
_JKS_PROTECTION, _JCEKS_PROTECTION = "1.3.6.1.4.1.42.2.17.1.1", "1.3.6.1.4.1.42.2.19.1"


@dataclass(slots=True)
class _Reader:
    data: bytes
    #: Where the contents end: before the digest.
    end: int
    position: int = 0

    def take(self, size: int, what: str) -> bytes:
        if self.position + size > self.end:
            raise Unreadable(f"{what} is cut off: {self.position + size - self.end} bytes are missing")
        self.position += size
        return self.data[self.position - size : self.position]

    def number(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "big")

    def text(self, what: str) -> str:
        return _modified_utf8(self.take(int.from_bytes(self.take(2, what), "big"), what))


@dataclass(slots=True)
class _Contents:
    #: Alias, protected key, chain.
    keys: list[tuple[str, bytes, list[bytes]]] = field(default_factory=list)
    trusted: list[bytes] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    certificates: int = 0


def looks_like(data: bytes) -> bool:
    return data[:4] in (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")


def read(data: bytes, passphrases: Sequence[str] = (), work: Work | None = None) -> Container:
    """Never raises. A key may have a passphrase of its own: each that is given is tried for each key, the store's
    first. The empty one is tried only where it is the store's."""
    found = _Contents()
    candidates = list(dict.fromkeys(passphrases))
    try:
        _read(_Reader(data, max(0, len(data) - _DIGEST_SIZE)), found)
    except Unreadable as error:
        found.problems.append(malformed(f"the store: {error}"))
    else:
        own = _passphrase(data, [*candidates, ""])
        if own is not None:
            candidates = [own, *(each for each in candidates if each != own)]
        elif passphrases:
            found.problems.append(
                Problem(
                    kind="passphrase",
                    message="the store's digest fits none of the passphrases that were given: "
                    "it has another, or is damaged",
                )
            )
    work = work or Work()
    entries = [
        Entry(name=alias, certificates=tuple(chain), key=_key(key, chain[0], candidates, work))
        for alias, key, chain in found.keys
        if chain
    ]
    return Container(
        format="jceks" if data[:1] == b"\xce" else "jks",
        entries=unique([*bundle(found.trusted), *entries]),
        problems=tuple(found.problems),
    )


def _read(reader: _Reader, found: _Contents) -> None:
    """Fills `found` as far as it can. Raises Unreadable where it cannot go on."""
    magic, version, count = (reader.number("the header") for _ in range(3))
    if magic not in (_JKS, _JCEKS):
        raise Unreadable(f"begins with {magic:08x}")
    if version not in (1, 2):
        raise Unreadable(f"is of version {version}, which is not known")
    # The count is a claim: each entry is read before the next is believed in.
    for number in range(1, count + 1):
        what = f"entry {number} of {count}"
        tag, alias = reader.number(what), reader.text(what)
        reader.take(8, what)  # when it was made
        if tag == _KEY:
            key = reader.take(reader.number(what), what)
            chain: list[bytes] = []
            if len(found.keys) == MAX_KEYS:
                raise Unreadable(f"more than {MAX_KEYS} keys")
            found.keys.append((alias, key, chain))
            for _ in range(reader.number(what)):
                _certificate(reader, version, what, chain, found)
        elif tag == _TRUSTED:
            _certificate(reader, version, what, found.trusted, found)
        elif tag == _SECRET and magic == _JCEKS:
            reader.position = _behind_secret(reader, what, alias)
        else:
            raise Unreadable(f"{what} is of type {tag}, which is not known")
    if reader.position != reader.end:
        raise Unreadable(f"{reader.end - reader.position} bytes are left after the last entry")


def _certificate(reader: _Reader, version: int, what: str, into: list[bytes], found: _Contents) -> None:
    kind = reader.text(what) if version == 2 else "X.509"
    content = reader.take(reader.number(what), what)
    found.certificates += 1
    if found.certificates > MAX_CERTIFICATES:
        raise Unreadable(f"more than {MAX_CERTIFICATES} certificates")
    if kind in ("X.509", "X509"):
        into.append(content)
    else:
        found.problems.append(malformed(f'{what} is a certificate of type "{shown(kind)}"'))


def _behind_secret(reader: _Reader, what: str, alias: str) -> int:
    try:
        end = end_of_object(reader.data, reader.position)
    except Unreadable as error:
        raise Unreadable(
            f'{what}, the secret key "{shown(alias)}", cannot be passed over ({error}): what follows was not read'
        ) from error
    if end > reader.end:
        raise Unreadable(f"{what} is cut off")
    return end


def _modified_utf8(data: bytes) -> str:
    """As `DataInput.readUTF` has it: NUL in two bytes, characters beyond 16 bits as surrogates of three each."""
    plain = data.replace(b"\xc0\x80", b"\0")
    try:
        text = plain.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return plain.decode("utf-8", "replace")
    return text.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "replace")


def _wide(passphrase: str) -> bytes:
    return passphrase.encode("utf-16-be", "surrogatepass")


def _passphrase(data: bytes, candidates: Sequence[str]) -> str | None:
    """The one that the digest at the end was made with."""
    contents, digest = memoryview(data)[:-_DIGEST_SIZE], data[-_DIGEST_SIZE:]
    for candidate in candidates:
        made = hashlib.sha1(_wide(candidate) + _WHITENER, usedforsecurity=False)
        made.update(contents)
        if hmac.compare_digest(made.digest(), digest):
            return candidate
    return None


def _key(protected: bytes, leaf: bytes, candidates: Sequence[str], work: Work) -> private_keys.Match:
    spki = der.read(leaf).spki_sha256
    for candidate in candidates:
        try:
            key = _unprotected(protected, candidate, work)
        except Undecryptable as error:
            if error.kind != "passphrase":
                return "encrypted"
        except Unreadable:
            continue
        else:
            return private_keys.match(key, spki)
    return "encrypted"


def _unprotected(protected: bytes, passphrase: str, work: Work) -> bytes:
    """PKCS#8 DER. Raises Undecryptable and Unreadable."""
    sealed = ber.only(protected)
    algorithm, content = ber.parts(sealed, 2, "EncryptedPrivateKeyInfo")[:2]
    inner = ber.parts(algorithm, 1, "an AlgorithmIdentifier")
    name = ber.oid(inner[0])
    if name == _JKS_PROTECTION:
        return _jks_unprotected(ber.octets(content), passphrase, work)
    if name == _JCEKS_PROTECTION and len(inner) > 1:
        salt, iterations = ber.parts(inner[1], 2, "PBE parameters")[:2]
        key = _jceks_key(ber.octets(salt), ber.integer(iterations), passphrase, work)
        plain = triple_des(key[:24], key[24:], ber.octets(content))
        ber.only(plain)
        return plain
    return decrypt_private_key(sealed, passphrase, work)


def _jks_unprotected(content: bytes, passphrase: str, work: Work) -> bytes:
    """`sun.security.provider.KeyProtector`: a keystream of SHA-1 over the passphrase and the block before, and a
    digest of passphrase and key at the end."""
    if len(content) < 2 * _DIGEST_SIZE:
        raise Unreadable("a protected key that is cut off")
    block, sealed, check = (
        content[:_DIGEST_SIZE],
        content[_DIGEST_SIZE:-_DIGEST_SIZE],
        content[-_DIGEST_SIZE:],
    )
    work.spend(len(sealed) // _DIGEST_SIZE + 2)
    word = _wide(passphrase)
    stream = bytearray()
    while len(stream) < len(sealed):
        block = hashlib.sha1(word + block, usedforsecurity=False).digest()
        stream += block
    size = len(sealed)
    plain = (int.from_bytes(sealed, "big") ^ int.from_bytes(stream[:size], "big")).to_bytes(size, "big")
    if not hmac.compare_digest(hashlib.sha1(word + plain, usedforsecurity=False).digest(), check):
        raise Undecryptable("passphrase", "does not open with this passphrase")
    return plain


def _jceks_key(salt: bytes, iterations: int, passphrase: str, work: Work) -> bytes:
    """Key and IV of PBEWithMD5AndTripleDES (`com.sun.crypto.provider.PBES1Core`): MD5 over each half of the salt."""
    if len(salt) != 8:
        raise Unreadable(f"a salt of {len(salt)} bytes")
    work.spend(iterations, 2)
    word = passphrase.encode("ascii", "replace")
    result = b""
    for half in (salt[:4], salt[4:]):
        for _ in range(iterations):
            half = hashlib.md5(half + word, usedforsecurity=False).digest()
        result += half
    return result
