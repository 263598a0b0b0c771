"""Key match: told, and nothing kept."""

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from certwatch.plugins.testing import make_certificate
from certwatch.x509.der import read
from certwatch.x509.private_keys import match


@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
def test_its_own_key_matches_and_another_does_not(kind: str) -> None:
    ours, other = make_certificate(key_kind=kind), make_certificate(key_kind=kind, key_number=9)
    spki = read(ours.der).spki_sha256
    assert match(ours.key_pem, spki) == "match"
    assert match(other.key_pem, spki) == "mismatch"


def test_the_traditional_form_is_read_too() -> None:
    ours = make_certificate()
    pem = ours.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert match(pem, read(ours.der).spki_sha256) == "match"
    der = ours.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert match(der, read(ours.der).spki_sha256) == "match"


def test_an_encrypted_key_is_compared_only_with_its_password() -> None:
    ours = make_certificate()
    pem = ours.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    spki = read(ours.der).spki_sha256
    assert match(pem, spki) == "encrypted"
    assert match(pem, spki, password=b"wrong") == "encrypted"
    assert match(pem, spki, password=b"secret") == "match"


@pytest.mark.parametrize(
    "raw", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", b"\x30\x03junk"]
)
def test_what_is_no_key_is_unknown(raw: bytes) -> None:
    assert match(raw, bytes(32)) == "unknown"
