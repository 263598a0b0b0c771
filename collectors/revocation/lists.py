"""What was fetched, as a CRL; what it says of a certificate, and of itself."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from certwatch.doors.failure import LookFailed
from certwatch.model.certificate import Certificate
from certwatch.model.observation import Fact
from certwatch.pki import crl_check
from certwatch.pki.crl_check import Revocation
from certwatch.x509 import pem
from collectors.revocation.crl_index import CRLIndex
from collectors.revocation.statement import instant

E = TypeVar("E", bound=x509.ExtensionType)


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
