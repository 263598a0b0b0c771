"""A new key with its CSR, and what an issuer made of it: held against what was asked for."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from certwatch.plugins.deployer import Material
from certwatch.remediation.stopped import StepFailed
from certwatch.x509.der import read
from certwatch.x509.pem import blocks

_CURVES = {"ec-p256": ec.SECP256R1, "ec-p384": ec.SECP384R1}
#: Longest common name (RFC 5280, appendix A.1).
MAX_COMMON_NAME = 64


def new_key(kind: str) -> Any:
    if kind in _CURVES:
        return ec.generate_private_key(_CURVES[kind]())
    return rsa.generate_private_key(65537, int(kind.removeprefix("rsa-")))


def csr_for(key: Any, names: Sequence[str]) -> bytes:
    """PEM. Raises StepFailed for names that no request can have."""
    general = general_names(names)
    first = next((each.partition(":")[2] for each in names if each.startswith("dns:")), "")
    common = [x509.NameAttribute(NameOID.COMMON_NAME, first)] if 0 < len(first) <= MAX_COMMON_NAME else []
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name(common))
        .add_extension(x509.SubjectAlternativeName(general), critical=not common)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    """As the model writes them ("dns:…", "ip:…"). Raises StepFailed."""
    found: list[x509.GeneralName] = []
    for each in names:
        kind, _, value = each.partition(":")
        try:
            found.append(_general(kind, value))
        except ValueError as error:
            raise StepFailed(f"{each[:100]} cannot be asked for: {error}") from error
    return found


def _general(kind: str, value: str) -> x509.GeneralName:
    if kind == "dns":
        return x509.DNSName(value)
    if kind == "ip":
        return x509.IPAddress(ip_address(value))
    if kind == "email":
        return x509.RFC822Name(value)
    if kind == "uri":
        return x509.UniformResourceIdentifier(value)
    raise ValueError("names of this kind are not renewed")


def split_pem(chain_pem: bytes) -> list[bytes]:
    """DER of each certificate, in order."""
    return [each.data for each in blocks(chain_pem) if each.label == "CERTIFICATE" and each.data]


def joined_pem(chain: Sequence[bytes]) -> bytes:
    """Of DER."""
    return b"".join(
        x509.load_der_x509_certificate(each).public_bytes(serialization.Encoding.PEM) for each in chain
    )


def key_pem_of(key: Any) -> bytes:
    """PKCS#8. Empty: it is not here."""
    if key is None:
        return b""
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


def checked_csr(pem: bytes, names: Sequence[str], key_type: str) -> bytes:
    """Of a key that was made elsewhere. Raises StepFailed: it asks for something else than was planned."""
    try:
        csr = x509.load_pem_x509_csr(pem)
        key = csr.public_key()
        if not csr.is_signature_valid:
            raise StepFailed("the CSR is not signed by its own key")
        asked = set(csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (ValueError, TypeError, x509.ExtensionNotFound, UnsupportedAlgorithm) as error:
        raise StepFailed(f"gave no CSR that can be read: {error}"[:300]) from error
    if asked != set(general_names(names)):
        raise StepFailed(
            f"gave a CSR for other names than were asked for: {', '.join(map(_shown, asked))}"[:300]
        )
    if _kind_of(key) != key_type:
        raise StepFailed(f"gave a CSR for a key of type {_kind_of(key)}, and the policy has {key_type}")
    return csr.public_bytes(serialization.Encoding.PEM)


def _shown(name: x509.GeneralName) -> str:
    return str(name.value)[:100]


def _kind_of(key: Any) -> str:
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa-{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return next(
            (name for name, curve in _CURVES.items() if key.curve.name == curve().name), key.curve.name
        )
    return type(key).__name__


def material_of(public_key: Any, chain_pem: bytes, names: Sequence[str], *, key_pem: bytes) -> Material:
    """`key_pem` empty: it is where it will live. Raises StepFailed: an issuer gave something else than was asked for."""
    chain = split_pem(chain_pem)
    if not chain:
        raise StepFailed("the issuer gave no certificate")
    certificate = read(chain[0])
    try:
        made = x509.load_der_x509_certificate(chain[0]).public_key()
    except ValueError as error:
        raise StepFailed(f"the issuer gave a certificate that cannot be read: {error}") from error
    if made != public_key:
        raise StepFailed("the issuer gave a certificate for another key than was asked for")
    got = {str(each) for each in certificate.names}
    lacking = sorted(set(names) - got)
    if lacking:
        raise StepFailed(f"the issuer gave a certificate without {', '.join(lacking)}")
    more = sorted(got - set(names))
    if more:
        raise StepFailed(f"the issuer gave a certificate for more than was asked for: {', '.join(more)}")
    return Material(key_pem=key_pem, chain_pem=chain_pem, certificate=certificate)
