"""Key match: told, and nothing kept."""

import base64
import hashlib
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from certwatch.plugins.testing import make_certificate
from certwatch.x509.der import read
from certwatch.x509.private_keys import match
from certwatch.x509.tlv import encode


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


def number(value: int) -> bytes:
    return encode(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


@pytest.mark.parametrize("form", ["der", "pem"])
@pytest.mark.parametrize("oid", ["2a8648ce380401", "2a864886f70d010301", "2a8648ce3e0201"])
def test_a_key_whose_public_half_would_take_for_ever_is_not_computed(oid: str, form: str) -> None:
    # Found: DSA of 30,000 bits took 12 s, and DH raised the library's InternalError.
    prime = (1 << 30_000) - 1
    parameters = encode(0x30, b"".join(number(prime // each) for each in (1, 2, 3)))
    algorithm = encode(0x30, encode(0x06, bytes.fromhex(oid)) + parameters)
    key = encode(0x30, number(0) + algorithm + encode(0x04, number(prime // 5)))
    if form == "pem":
        key = b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(key) + b"-----END PRIVATE KEY-----\n"
    began = time.process_time()
    assert match(key, bytes(32)) == "unknown"
    assert time.process_time() - began < 0.5


def test_dsa_of_a_real_size_is_compared() -> None:
    ours = dsa.generate_private_key(1024)  # noqa: S505
    pem = ours.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = ours.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert match(pem, hashlib.sha256(public).digest()) == "match"
