"""A CRL in which certificates are found at once, however many it revokes, and which holds nobody up while it is read."""

import hashlib
from collections.abc import Iterator
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certwatch.x509.tlv import Unreadable, encode, header

_SEQUENCE, _INTEGER, _TIMES = 0x30, 0x02, (0x17, 0x18)
#: Bytes of a serial number in the table: the longest that RFC 5280 allows (4.1.2.2). Of longer ones the last.
_WIDTH = 20
#: Where the entry begins.
_PLACE = 4
_RECORD = _WIDTH + _PLACE
#: Entries in a bucket, about; and bytes of an entry, at least.
_IN_BUCKET, _ENTRY = 64, 24


class CRLIndex:
    """Has what `certwatch.pki.crl_check` asks of a CRL. Made once for each content; read by one thread at a time.

    The library's own CRL looks through all entries for each certificate, and holds every other thread up meanwhile, as it
    does while it reads a large one. Here the entries stand in buckets by their serial numbers, 30 bytes for each, and an
    entry is read when it is found. By which hash is this process's secret, so no list can fill one bucket.
    """

    def __init__(self, der: bytes, sha256: bytes | None = None) -> None:
        """`sha256`: of what was fetched, if that is not `der` itself. Blocking: two seconds for a million entries.
        Raises ValueError."""
        self.sha256 = sha256 or hashlib.sha256(der).digest()
        self.size = len(der)
        self._der = der
        try:
            self._entries_at = self._split()
            self.entries = self._fill(*self._entries_at)
        except (Unreadable, IndexError) as error:
            raise ValueError(f"not a certificate revocation list: {error}") from error
        try:
            self._crl = self._with(b"")
        except x509.InvalidVersion as error:
            raise ValueError(str(error)) from error
        #: By key: a signature over millions of entries is looked at once.
        self._signed_by: dict[bytes, bool] = {}

    def _split(self) -> tuple[int, int]:
        """Notes what stands around the entries; where those begin and end. Raises Unreadable."""
        der = self._der
        _, first, end = _sequence(der, 0, len(der))
        if end != len(der):
            raise Unreadable(f"{len(der) - end} bytes after its end")
        self._tbs_start, position, tbs_end = _sequence(der, first, end)
        self._tbs_first, self._tbs_end, self._end = position, tbs_end, end
        tag, _, after = header(der, position, tbs_end)
        if tag == _INTEGER:
            position = after
        _, self._algorithm_first, self._algorithm_end = _sequence(der, position, tbs_end)
        _, _, position = _sequence(der, self._algorithm_end, tbs_end)
        for least in (1, 0):  # this update; next update, which may be absent
            tag, _, after = header(der, position, tbs_end) if position < tbs_end else (0, 0, 0)
            if tag in _TIMES:
                position = after
            elif least:
                raise Unreadable("no time where it should say when it was made")
        self._before = self._behind = position
        if position == tbs_end or der[position] != _SEQUENCE:
            return position, position  # none is revoked: left out (5.1.2.6)
        _, first, self._behind = header(der, position, tbs_end)
        return first, self._behind

    def _fill(self, position: int, end: int) -> int:
        """How many entries there are. Raises Unreadable, IndexError."""
        der = self._der
        wanted = (end - position) // (_ENTRY * _IN_BUCKET)
        self._mask = (1 << wanted.bit_length()) - 1
        self._buckets = buckets = [bytearray() for _ in range(self._mask + 1)]
        mask, count = self._mask, 0
        while position < end:
            first = position + 2
            if der[position] == _SEQUENCE and der[position + 1] < 0x80:
                after = first + der[position + 1]
            else:
                _, first, after = _sequence(der, position, end)
            stop = first + 2 + der[first + 1]
            if der[first] != _INTEGER or der[first + 1] >= 0x80 or stop > after or after > end:
                raise Unreadable(f"no entry at byte {position}")
            serial = der[first + 2 : stop][-_WIDTH:].rjust(_WIDTH, b"\0")
            buckets[hash(serial) & mask] += serial + position.to_bytes(_PLACE, "big")
            count += 1
            position = after
        return count

    def _with(self, entry: bytes) -> x509.CertificateRevocationList:
        """This list with that entry alone; its signature is then nobody's. Raises ValueError."""
        der = self._der
        tbs = der[self._tbs_first : self._before]
        if entry:
            tbs += encode(_SEQUENCE, entry)
        tbs += der[self._behind : self._tbs_end]
        return x509.load_der_x509_crl(
            encode(_SEQUENCE, encode(_SEQUENCE, tbs) + der[self._tbs_end : self._end])
        )

    @property
    def sample(self) -> bytes:
        """The list with its first entry alone, DER: what there is to say of its form. Raises ValueError."""
        first, end = self._entries_at
        entry = b""
        if first < end:
            _, _, after = header(self._der, first, end)
            entry = self._der[first:after]
        return self._with(entry).public_bytes(Encoding.DER)

    def is_of(self, body: bytes) -> bool:
        """Made of the same bytes. Blocking, for a large one."""
        return hashlib.sha256(body).digest() == self.sha256

    @property
    def issuer_der(self) -> bytes:
        return self._crl.issuer.public_bytes()

    @property
    def issuer(self) -> x509.Name:
        return self._crl.issuer

    @property
    def extensions(self) -> x509.Extensions:
        return self._crl.extensions

    @property
    def last_update_utc(self) -> datetime:
        return self._crl.last_update_utc

    @property
    def next_update_utc(self) -> datetime | None:
        return self._crl.next_update_utc

    @property
    def signature_name(self) -> str:
        return self._crl.signature_algorithm_oid._name

    def is_signature_valid(self, key: CertificateIssuerPublicKeyTypes) -> bool:
        """Blocking. Raises TypeError, UnsupportedAlgorithm: it cannot be told."""
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if spki not in self._signed_by:
            self._signed_by[spki] = self._is_signed_by(key)
        return self._signed_by[spki]

    def _is_signed_by(self, key: CertificateIssuerPublicKeyTypes) -> bool:
        _, outer_first, outer_end = _sequence(self._der, self._tbs_end, self._end)
        # The two must be the same (5.1.1.2): the inner one alone is signed.
        if self._der[self._algorithm_first : self._algorithm_end] != self._der[outer_first:outer_end]:
            return False
        signed = memoryview(self._der)[self._tbs_start : self._tbs_end]
        signature = self._crl.signature
        try:
            if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
                key.verify(signature, signed)
                return True
            algorithm = self._crl.signature_hash_algorithm
            if algorithm is None:
                return False
            # Not by the library as a whole: hashlib lets others run.
            digest = hashlib.new(algorithm.name.replace("-", "_"), signed).digest()
            scheme = self._crl.signature_algorithm_parameters
            if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(scheme, ec.ECDSA):
                key.verify(signature, digest, ec.ECDSA(Prehashed(algorithm)))
            elif isinstance(key, rsa.RSAPublicKey) and isinstance(scheme, padding.PKCS1v15 | padding.PSS):
                key.verify(signature, digest, scheme, Prehashed(algorithm))
            elif isinstance(key, dsa.DSAPublicKey) and self.signature_name.startswith("dsa"):
                key.verify(signature, digest, Prehashed(algorithm))
            else:
                return False
        except InvalidSignature:
            return False
        return True

    def __iter__(self) -> Iterator[x509.RevokedCertificate]:
        """By the library: for small ones."""
        return iter(x509.load_der_x509_crl(self._der))

    def get_revoked_certificate_by_serial_number(self, serial: int) -> x509.RevokedCertificate | None:
        """The first of that number. Raises ValueError: the entry cannot be read."""
        content = serial.to_bytes(serial.bit_length() // 8 + 1, "big", signed=True)
        wanted = content[-_WIDTH:].rjust(_WIDTH, b"\0")
        bucket = self._buckets[hash(wanted) & self._mask]
        at = bucket.find(wanted)
        while at >= 0:
            if at % _RECORD == 0:
                position = int.from_bytes(bucket[at + _WIDTH : at + _RECORD], "big")
                _, _, after = header(self._der, position, self._end)
                entry = next(iter(self._with(self._der[position:after])))
                if entry.serial_number == serial:
                    return entry
            at = bucket.find(wanted, at + 1)
        return None


def _sequence(der: bytes, position: int, end: int) -> tuple[int, int, int]:
    """Where it begins, where its content begins and ends. Raises Unreadable."""
    tag, first, stop = header(der, position, end)
    if tag != _SEQUENCE:
        raise Unreadable(f"tag {tag:#04x} at byte {position} instead of a SEQUENCE")
    return position, first, stop
