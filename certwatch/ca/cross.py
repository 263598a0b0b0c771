"""Cross-signing: another CA's root, certified by an issuer of this CA, so that who trusts this one trusts that one as well."""

from datetime import timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from certwatch.ca.approvals import Waiting, submit
from certwatch.ca.authority import Authority
from certwatch.ca.failure import CAError
from certwatch.ca.issue import Certified
from certwatch.ca.profiles import profile_named
from certwatch.ca.request import Order, name_from, public_bytes, subject_of

MAX_BYTES = 64 << 10


def cross_sign(
    authority: Authority,
    pem: bytes,
    *,
    by: str,
    issuer: str | None = None,
    lifetime: timedelta | None = None,
    profile: str = "cross",
) -> Certified | Waiting:
    """Of a self-signed CA certificate: its own signature proves that who made it has the key. Same name, same key, and
    never longer than it lives itself. Raises CAError."""
    wanted = profile_named(authority.settings.profiles, profile)
    if not wanted.is_ca:
        raise CAError(
            "usage", f"profile {profile} makes no CAs: cross-signing needs one of usage intermediate"
        )
    other = _root(pem)
    remaining = other.not_valid_after_utc - authority.clock()
    asked = lifetime if lifetime is not None else min(wanted.lifetime, remaining)
    if asked > remaining:
        raise CAError(
            "refused",
            f"a lifetime of {asked}: the certificate itself ends {other.not_valid_after_utc:%Y-%m-%d %H:%MZ}",
        )
    with authority.turn:
        roots = [each for each in authority.issuers() if each.kind == "root"]
        above = authority.issuer(issuer) if issuer is not None or not roots else roots[-1]
        if above.certificate.subject == other.subject:
            raise CAError("refused", f"{above.name}: has the same name as what it would sign")
        order = Order(
            profile=wanted.name,
            public_key=public_bytes(other.public_key()),
            names=(),
            subject=subject_of(other.subject),
            lifetime_seconds=int(asked.total_seconds()),
            requester=by,
            submitter=by,
            channel="cli",
            issuer=above.name,
        )
        return submit(authority, order)


def _root(pem: bytes) -> x509.Certificate:
    if len(pem) > MAX_BYTES:
        raise CAError("refused", f"the certificate: larger than {MAX_BYTES} bytes")
    try:
        certificate = (
            x509.load_pem_x509_certificate(pem)
            if b"-----BEGIN" in pem
            else x509.load_der_x509_certificate(pem)
        )
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, x509.ExtensionNotFound, UnsupportedAlgorithm, InvalidSignature) as error:
        raise CAError(
            "refused",
            f"the certificate: is not a self-signed one of a CA that verifies ({error})".rstrip(" ()"),
        ) from error
    if not constraints.ca:
        raise CAError("refused", "the certificate: is no CA's")
    # Clients compare bytes: whoever's name or identifier is written otherwise finds no way through the new one.
    if name_from(subject_of(certificate.subject)).public_bytes() != certificate.subject.public_bytes():
        raise CAError("refused", "the certificate: its subject is encoded as this CA does not write it")
    try:
        identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return certificate
    if identifier != x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()):
        raise CAError(
            "refused",
            "the certificate: its key identifier is not the usual SHA-1 of the key (RFC 5280, 4.2.1.2)",
        )
    return certificate
