"""A CSR for a key that was just made, and other forms that the command line writes."""

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.ca.failure import CAError
from certwatch.ca.key_file import PrivateKey
from certwatch.ca.names import checked, general_name
from certwatch.ca.signer import hash_for


def make_csr(key: PrivateKey, names: Sequence[str], subject: str | None) -> str:
    """PEM. Raises CAError."""
    try:
        name = x509.Name.from_rfc4514_string(subject) if subject else x509.Name([])
    except ValueError as error:
        raise CAError(
            "usage", f'"{subject}" is not a subject: write "CN=Build,O=Example" (RFC 4514)'
        ) from error
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    normal = checked(names)
    if normal:
        alternatives = x509.SubjectAlternativeName([general_name(each) for each in normal])
        builder = builder.add_extension(alternatives, critical=False)
    csr = builder.sign(key, hash_for(key.public_key()))
    return csr.public_bytes(Encoding.PEM).decode()


def crl_pem(der: bytes) -> bytes:
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
