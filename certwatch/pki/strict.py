"""What RFC 5280 and the Baseline Requirements demand of the certificates on a path and both validators let pass."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certwatch.pki.openssl import Purpose

E = TypeVar("E", bound=x509.ExtensionType)
CURVES = ("secp256r1", "secp384r1", "secp521r1")
MIN_RSA_BITS = 2048


def faults(path: Sequence[x509.Certificate], purpose: Purpose) -> Iterator[tuple[int, str]]:
    """Place in the path (0: the leaf; last: the anchor) and what is wrong there. Raises ValueError where an extension
    cannot be read."""
    for index, certificate in enumerate(path):
        is_anchor = index == len(path) - 1
        if certificate.serial_number == 0 and not is_anchor:
            yield index, "its serial number is 0 (RFC 5280, 4.1.2.2)"
        yield from ((index, each) for each in _key_faults(certificate))
        yield from ((index, each) for each in _criticality_faults(certificate))
        if is_anchor:
            yield from ((index, each) for each in _anchor_faults(certificate, purpose))
        elif index > 0 and _extension(certificate, x509.AuthorityKeyIdentifier) is None:
            yield index, "it has no authority key identifier (RFC 5280, 4.2.1.1)"
    if purpose == "server":
        yield from ((0, each) for each in _server_faults(path[0]))


def crl_faults(crl: x509.CertificateRevocationList) -> Iterator[str]:
    try:
        number = crl.extensions.get_extension_for_class(x509.CRLNumber)
    except x509.ExtensionNotFound:
        yield "a CRL of its has no number (RFC 5280, 5.2.3)"
    else:
        if number.critical:
            yield "the number of a CRL of its is critical (RFC 5280, 5.2.3)"


def _key_faults(certificate: x509.Certificate) -> Iterator[str]:
    key = certificate.public_key()
    if isinstance(key, dsa.DSAPublicKey):
        yield "its key is DSA (Baseline Requirements, 6.1.5)"
    elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in CURVES:
        yield f"its key is on the curve {key.curve.name} (Baseline Requirements, 6.1.5)"
    elif isinstance(key, rsa.RSAPublicKey) and (key.key_size < MIN_RSA_BITS or key.key_size % 8):
        yield f"its RSA key has {key.key_size} bits (Baseline Requirements, 6.1.5)"


def _criticality_faults(certificate: x509.Certificate) -> Iterator[str]:
    for kind, section in (
        (x509.NameConstraints, "4.2.1.10"),
        (x509.PolicyConstraints, "4.2.1.11"),
        (x509.InhibitAnyPolicy, "4.2.1.14"),
    ):
        try:
            found = certificate.extensions.get_extension_for_class(kind)
        except x509.ExtensionNotFound:
            continue
        if not found.critical:
            yield f"its {kind.__name__} is not critical (RFC 5280, {section})"


def _anchor_faults(certificate: x509.Certificate, purpose: Purpose) -> Iterator[str]:
    if certificate.subject != certificate.issuer:
        if _extension(certificate, x509.AuthorityKeyIdentifier) is None:
            yield "it is cross-signed and has no authority key identifier (RFC 5280, 4.2.1.1)"
        return
    own, above = (
        _extension(certificate, x509.SubjectKeyIdentifier),
        _extension(certificate, x509.AuthorityKeyIdentifier),
    )
    if above is not None and (above.authority_cert_issuer or above.authority_cert_serial_number):
        yield "its authority key identifier names issuer and serial number (Baseline Requirements, 7.1.2.1)"
    if above is not None and own is not None and above.key_identifier not in (None, own.key_identifier):
        yield "its authority key identifier is another than its own key's (RFC 5280, 4.2.1.1)"
    if purpose != "any" and _extension(certificate, x509.ExtendedKeyUsage) is not None:
        yield "a root with extended key usages (Baseline Requirements, 7.1.2.1)"


def _server_faults(leaf: x509.Certificate) -> Iterator[str]:
    usages = _extension(leaf, x509.ExtendedKeyUsage)
    if usages is None:
        yield "it has no extended key usage (Baseline Requirements, 7.1.2.7.10)"
    elif ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages:
        yield "its extended key usage is any (Baseline Requirements, 7.1.2.7.10)"
    names = _extension(leaf, x509.SubjectAlternativeName)
    said = set() if names is None else set(names.get_values_for_type(x509.DNSName))
    said |= set() if names is None else {str(each) for each in names.get_values_for_type(x509.IPAddress)}
    for attribute in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        text = attribute.value if isinstance(attribute.value, str) else attribute.value.decode("latin-1")
        if text not in said:
            yield f"its common name {_shown(text)} is none of its names (Baseline Requirements, 7.1.4.3)"


def _shown(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        return repr(text[:64])


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
