"""Is a certificate revoked by the CRLs at hand? (RFC 5280, 6.3.3)

Complete, partitioned, indirect and delta CRLs, and those that are signed by another key of the same CA. Who may sign a CRL is
asked of the caller, since that is a path of its own.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

ALL_REASONS = frozenset(x509.ReasonFlags) - {x509.ReasonFlags.unspecified, x509.ReasonFlags.remove_from_crl}
#: What is understood here; a CRL with another critical extension says nothing (5.2).
_KNOWN = {
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.CRL_NUMBER,
    ExtensionOID.DELTA_CRL_INDICATOR,
    ExtensionOID.ISSUING_DISTRIBUTION_POINT,
}
_KNOWN_OF_ENTRIES = {
    CRLEntryExtensionOID.CRL_REASON,
    CRLEntryExtensionOID.INVALIDITY_DATE,
    CRLEntryExtensionOID.CERTIFICATE_ISSUER,
}

E = TypeVar("E", bound=x509.ExtensionType)
#: Certificates whose key may sign CRLs of that name, for the anchor of this path.
SignersOf = Callable[[x509.Name], Iterable[x509.Certificate]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    status: Literal["good", "revoked", "unknown"]
    #: Of a revoked one; None: it says none.
    reason: str | None = None
    revoked_at: datetime | None = None
    #: Of an unknown one: what is missing.
    why: str = ""


def check(
    certificate: x509.Certificate,
    crls: Sequence[x509.CertificateRevocationList],
    signers_of: SignersOf,
    now: datetime,
) -> Revocation:
    """`crls`: every CRL that there is, of whomever. Raises ValueError where an extension cannot be read."""
    usable = [each for each in crls if _is_usable(each, now)]
    covered: frozenset[x509.ReasonFlags] = frozenset()
    for point in _points(certificate):
        for crl in usable:
            if covered == ALL_REASONS:
                break
            reasons = _reasons(certificate, point, crl)
            if not reasons - covered or _is_delta(crl) or not _signed(crl, signers_of):
                continue
            delta = next(
                (each for each in usable if _completes(each, crl) and _signed(each, signers_of)), None
            )
            entry = _entry(certificate, crl, delta)
            if entry is not None:
                return Revocation(
                    status="revoked", reason=_reason(entry), revoked_at=entry.revocation_date_utc
                )
            covered |= reasons
    if covered == ALL_REASONS:
        return Revocation(status="good")
    return Revocation(
        status="unknown",
        why="no CRL that is in force covers it" if not covered else "the CRLs cover some reasons only",
    )


#: RDNs in order, each a set of type and value.
PreparedName = tuple[frozenset[tuple[str, str | bytes]], ...]


@lru_cache(maxsize=4096)
def prepared(name: x509.Name) -> PreparedName:
    """Two names are the same if these are: case and runs of spaces do not count (RFC 5280, 7.1)."""
    return tuple(
        frozenset(
            (
                each.oid.dotted_string,
                " ".join(each.value.casefold().split()) if isinstance(each.value, str) else each.value,
            )
            for each in rdn
        )
        for rdn in name.rdns
    )


def _same(one: x509.Name, other: x509.Name) -> bool:
    return one == other or prepared(one) == prepared(other)


def _is_usable(crl: x509.CertificateRevocationList, now: datetime) -> bool:
    if crl.last_update_utc > now or crl.next_update_utc is None or crl.next_update_utc < now:
        return False
    return not any(each.critical and each.oid not in _KNOWN for each in crl.extensions)


def _is_delta(crl: x509.CertificateRevocationList) -> bool:
    return _extension(crl, x509.DeltaCRLIndicator) is not None


def _completes(delta: x509.CertificateRevocationList, crl: x509.CertificateRevocationList) -> bool:
    """6.3.3 c: the same issuer and scope, made upon this CRL or an older one, and newer than it."""
    base = _extension(delta, x509.DeltaCRLIndicator)
    number, newer = _extension(crl, x509.CRLNumber), _extension(delta, x509.CRLNumber)
    if base is None or number is None or newer is None or not _same(delta.issuer, crl.issuer):
        return False
    same = (x509.IssuingDistributionPoint, x509.AuthorityKeyIdentifier)
    return base.crl_number <= number.crl_number < newer.crl_number and [
        _extension(delta, each) for each in same
    ] == [_extension(crl, each) for each in same]


def _points(certificate: x509.Certificate) -> Iterator[x509.DistributionPoint]:
    named = _extension(certificate, x509.CRLDistributionPoints)
    yield from named or ()
    # Whatever else the issuer publishes under its own name counts as well (6.3.3, at its end).
    yield x509.DistributionPoint(
        full_name=[x509.DirectoryName(certificate.issuer)], relative_name=None, reasons=None, crl_issuer=None
    )


def _reasons(
    certificate: x509.Certificate, point: x509.DistributionPoint, crl: x509.CertificateRevocationList
) -> frozenset[x509.ReasonFlags]:
    """What this CRL says of this certificate by this point: empty if it is not about it (6.3.3 b, d)."""
    scope = _extension(crl, x509.IssuingDistributionPoint)
    if point.crl_issuer:
        issuers = [each.value for each in point.crl_issuer if isinstance(each, x509.DirectoryName)]
        if not any(_same(crl.issuer, each) for each in issuers) or scope is None or not scope.indirect_crl:
            return frozenset()
    elif not _same(crl.issuer, certificate.issuer):
        return frozenset()
    reasons = point.reasons or ALL_REASONS
    if scope is None:
        return frozenset(reasons) & ALL_REASONS
    is_ca = _is_ca(certificate)
    if (
        (scope.only_contains_user_certs and is_ca)
        or (scope.only_contains_ca_certs and not is_ca)
        or scope.only_contains_attribute_certs
        or not _names_meet(certificate, point, crl, scope)
    ):
        return frozenset()
    return frozenset(reasons) & frozenset(scope.only_some_reasons or ALL_REASONS) & ALL_REASONS


def _names_meet(
    certificate: x509.Certificate,
    point: x509.DistributionPoint,
    crl: x509.CertificateRevocationList,
    scope: x509.IssuingDistributionPoint,
) -> bool:
    theirs = _full_names(scope.full_name, scope.relative_name, crl.issuer)
    if not theirs:
        return True
    issuer = next(
        (each.value for each in point.crl_issuer or () if isinstance(each, x509.DirectoryName)),
        certificate.issuer,
    )
    ours = _full_names(point.full_name, point.relative_name, issuer) or {
        _comparable(each) for each in point.crl_issuer or ()
    }
    return bool(theirs & ours)


def _full_names(
    full: Iterable[x509.GeneralName] | None,
    relative: x509.RelativeDistinguishedName | None,
    issuer: x509.Name,
) -> set[x509.GeneralName | PreparedName]:
    if relative is not None:
        return {prepared(x509.Name([*issuer.rdns, relative]))}
    return {_comparable(each) for each in full or ()}


def _comparable(name: x509.GeneralName) -> x509.GeneralName | PreparedName:
    return prepared(name.value) if isinstance(name, x509.DirectoryName) else name


def _signed(crl: x509.CertificateRevocationList, signers_of: SignersOf) -> bool:
    for signer in signers_of(crl.issuer):
        usage = _extension(signer, x509.KeyUsage)
        if usage is not None and not usage.crl_sign:
            continue
        try:
            if crl.is_signature_valid(signer.public_key()):  # type: ignore[arg-type] # other keys raise TypeError
                return True
        except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature):
            continue
    return False


def _entry(
    certificate: x509.Certificate,
    crl: x509.CertificateRevocationList,
    delta: x509.CertificateRevocationList | None,
) -> x509.RevokedCertificate | None:
    changed = _listed(certificate, delta) if delta is not None else None
    if changed is not None:
        return None if _reason(changed) == x509.ReasonFlags.remove_from_crl.value else changed
    return _listed(certificate, crl)


def _listed(
    certificate: x509.Certificate, crl: x509.CertificateRevocationList
) -> x509.RevokedCertificate | None:
    scope = _extension(crl, x509.IssuingDistributionPoint)
    if scope is None or not scope.indirect_crl:
        return crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is None:
        return None
    # Each entry is of the issuer that was named last (5.3.3), so all of them are gone through.
    issuer = crl.issuer
    for entry in crl:
        named = _extension(entry, x509.CertificateIssuer)
        if named is not None:
            issuer = next((each.value for each in named if isinstance(each, x509.DirectoryName)), issuer)
        if entry.serial_number == certificate.serial_number and _same(issuer, certificate.issuer):
            return entry
    return None


def _reason(entry: x509.RevokedCertificate) -> str | None:
    found = _extension(entry, x509.CRLReason)
    return None if found is None else found.reason.value


def _is_ca(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _extension(
    holder: x509.Certificate | x509.CertificateRevocationList | x509.RevokedCertificate, kind: type[E]
) -> E | None:
    try:
        return holder.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
