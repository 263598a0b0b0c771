"""Private keys beside a certificate, in every form."""

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from certwatch.plugins.testing import key, make_certificate
from certwatch.x509 import der, inline, private_keys

LEAF = make_certificate()
SPKI = der.read(LEAF.der).spki_sha256


def seeds() -> list[bytes]:
    forms = (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL, PrivateFormat.OpenSSH)
    clear, locked = NoEncryption(), BestAvailableEncryption(b"changeit")
    return [
        *(LEAF.key.private_bytes(Encoding.PEM, form, how) for form in forms for how in (clear, locked)),
        *(LEAF.key.private_bytes(Encoding.DER, form, clear) for form in forms[:2]),
        key("rsa").private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, clear),
    ]


def TestOneInput(data: bytes) -> None:
    if data.startswith(b"-----"):
        inline.key_match(data, LEAF.der, ("changeit",))
    else:
        private_keys.match(data, SPKI)
