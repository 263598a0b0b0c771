"""Fetching CRLs, and finding certificates in them quickly."""

import bisect
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certwatch.doors.failure import LookFailed
from certwatch.model.certificate import Certificate
from certwatch.model.observation import Fact
from certwatch.pki import crl_check
from certwatch.pki.crl_check import Revocation
from certwatch.x509 import pem
from collectors.revocation.statement import instant

E = TypeVar("E", bound=x509.ExtensionType)
#: Bytes of a serial number in the index: the longest that RFC 5280 allows (4.1.2.2). Longer ones are looked for the slow way.
_WIDTH = 20


class CRLIndex:
    """A CRL in which certificates are found by bisection: 20 bytes an entry, where the library looks through them all.

    Has what `certwatch.pki.crl_check` asks of a CRL. Made once for each content; read by one thread at a time.
    """

    def __init__(self, der: bytes, sha256: bytes | None = None) -> None:
        """`sha256`: of what was fetched, if that is not `der` itself. Blocking: a second for a million entries. Raises
        ValueError."""
        self._crl = x509.load_der_x509_crl(der)
        #: By key: a signature over millions of entries is looked at once.
        self._signed_by: dict[bytes, bool] = {}
        self.sha256 = sha256 or hashlib.sha256(der).digest()
        self.size = len(der)
        serials = []
        self._long = False
        for entry in self._crl:
            serial = entry.serial_number
            if 0 <= serial < 1 << (8 * _WIDTH):
                serials.append(serial.to_bytes(_WIDTH, "big"))
            else:
                self._long = True
        self.entries = len(serials)
        serials.sort()
        self._serials = b"".join(serials)

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
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if spki not in self._signed_by:
            self._signed_by[spki] = self._crl.is_signature_valid(key)
        return self._signed_by[spki]

    def __iter__(self) -> Iterator[x509.RevokedCertificate]:
        return iter(self._crl)

    def get_revoked_certificate_by_serial_number(self, serial: int) -> x509.RevokedCertificate | None:
        if 0 <= serial < 1 << (8 * _WIDTH):
            if not self._has(serial.to_bytes(_WIDTH, "big")):
                return None
        elif not self._long:
            return None
        return self._crl.get_revoked_certificate_by_serial_number(serial)

    def _has(self, serial: bytes) -> bool:
        serials = self._serials
        place = bisect.bisect_left(
            range(self.entries), serial, key=lambda at: serials[at * _WIDTH : (at + 1) * _WIDTH]
        )
        return serials[place * _WIDTH : (place + 1) * _WIDTH] == serial


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A CRL as it was fetched and found."""

    url: str
    index: CRLIndex
    #: Signed by a known CA of that name.
    verified: bool


def load(url: str, body: bytes) -> CRLIndex:
    """DER, or PEM as some serve it. Blocking. Raises LookFailed."""
    digest = hashlib.sha256(body).digest()
    if b"-----BEGIN" in body[:64]:
        body = next((each.data for each in pem.blocks(body) if each.data), b"")
    try:
        return CRLIndex(body, digest)
    except (ValueError, TypeError) as error:
        raise LookFailed("malformed", f"{url}: no CRL: {str(error)[:200]}") from error


def is_verified(index: CRLIndex, signers: Iterable[Certificate]) -> bool:
    """Blocking: half a second for a million entries."""
    for each in signers:
        try:
            key = x509.load_der_x509_certificate(each.der).public_key()
            if index.is_signature_valid(key):  # type: ignore[arg-type] # others raise TypeError
                return True
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion):
            continue
    return False


def status(
    certificate: Certificate, lists: Iterable[Listed], issuers: Iterable[Certificate], now: datetime
) -> Revocation:
    """By the verified ones of `lists`. `issuers`: CAs that may have signed them. Raises nothing."""
    try:
        loaded = x509.load_der_x509_certificate(certificate.der)
        signers = [x509.load_der_x509_certificate(each.der) for each in issuers]
        crls = cast("list[x509.CertificateRevocationList]", [each.index for each in lists if each.verified])
        return crl_check.check(loaded, crls, lambda name: signers, now)
    except (ValueError, TypeError, x509.InvalidVersion) as error:
        return Revocation(status="unknown", why=f"cannot be read: {str(error)[:200]}")


def facts(listed: Listed, seconds: float | None) -> dict[str, Fact]:
    index = listed.index
    number = _extension(index, x509.CRLNumber)
    said: dict[str, Fact] = {
        "crl_issuer": index.issuer.rfc4514_string(),
        "crl_number": None if number is None else str(number.crl_number),
        "crl_kind": _kind(index),
        "crl_this_update": instant(index.last_update_utc),
        "crl_next_update": instant(index.next_update_utc),
        "crl_entries": index.entries,
        "crl_bytes": index.size,
        "crl_signature_algorithm": index.signature_name,
        "crl_verified": listed.verified,
        "crl_seconds": seconds,
    }
    return {name: value for name, value in said.items() if value is not None}


def _kind(index: CRLIndex) -> str:
    if _extension(index, x509.DeltaCRLIndicator) is not None:
        return "delta"
    scope = _extension(index, x509.IssuingDistributionPoint)
    if scope is None:
        return "full"
    return "indirect" if scope.indirect_crl else "partition"


def _extension(index: CRLIndex, kind: type[E]) -> E | None:
    try:
        return index.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, ValueError):
        return None
