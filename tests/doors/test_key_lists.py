"""Lists of keys that are known to be compromised: as badkeys has them, and as plain sums."""

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from badkeys.allkeys import block
from badkeys.checks import checkcrt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certwatch.doors.key_lists import KeyListError, load_known_keys
from certwatch.pki.known_keys import _number
from certwatch.plugins.testing import EPOCH, make_certificate
from certwatch.x509.der import read
from tests.support.serving import INTERMEDIATE

ISSUED = make_certificate(key_number=501)
OTHER = make_certificate(key_number=502)
CERTIFICATE = read(ISSUED.der)


def records(*digests: bytes) -> bytes:
    return b"".join(each[:15] + bytes([7]) for each in sorted(digests))


def digest(der: bytes) -> bytes:
    return hashlib.sha256(_number(der) or b"").digest()


@pytest.fixture
def blocklist(tmp_path: Path) -> Path:
    path = tmp_path / "blocklist.dat"
    others = [hashlib.sha256(bytes([n])).digest() for n in range(200)]
    path.write_bytes(records(digest(ISSUED.der), *others))
    (tmp_path / "badkeysdata.json").write_text(json.dumps({"blocklists": [{"id": 7, "name": "debianssl"}]}))
    return path


def test_a_key_on_badkeys_list_is_found_with_the_lists_name(blocklist: Path) -> None:
    known = load_known_keys([str(blocklist)])
    assert known.find(CERTIFICATE) == "debianssl"
    assert known.find(read(OTHER.der)) is None
    blocklist.with_name("badkeysdata.json").write_text("[]")
    assert load_known_keys([str(blocklist)]).find(CERTIFICATE) == "number 7"


def test_the_first_and_the_last_record_are_found(tmp_path: Path) -> None:
    path = tmp_path / "one.dat"
    path.write_bytes(records(digest(ISSUED.der)))
    known = load_known_keys([str(path)])
    assert known.find(CERTIFICATE) == "number 7"
    assert known.find(read(OTHER.der)) is None


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
        dsa.generate_private_key(2048),
        ed25519.Ed25519PrivateKey.generate(),
        mldsa.MLDSA44PrivateKey.generate(),
    ],
    ids=["rsa", "ec", "dsa", "ed25519", "ml-dsa"],
)
@pytest.mark.filterwarnings(
    "ignore:Diffie-Hellman"
)  # which badkeys names while it looks at what kind of key it has
def test_of_each_kind_of_key_the_same_is_looked_up_as_badkeys_looks_up(
    key: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(INTERMEDIATE.certificate.subject)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(EPOCH)
        .not_valid_after(EPOCH + timedelta(days=5))
        .sign(INTERMEDIATE.key, hashes.SHA256())
    )
    der = issued.public_bytes(Encoding.DER)
    path = tmp_path / "blocklist.dat"
    path.write_bytes(records(digest(der)))
    monkeypatch.setattr(block, "_blmeta", {7: {"name": "seven"}})
    monkeypatch.setattr(block, "_bldata", path.read_bytes())
    theirs = checkcrt(issued.public_bytes(Encoding.PEM).decode(), checks={"blocklist": None})
    assert theirs["results"]["blocklist"]["detected"] is True
    assert load_known_keys([str(path)]).find(read(der)) == "number 7"


def test_sums_of_public_keys_are_taken_one_a_line(tmp_path: Path) -> None:
    spki = ISSUED.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    path = tmp_path / "stolen.txt"
    path.write_text(f"# from the incident\n\n{hashlib.sha256(spki).hexdigest().upper()}  laptop.pub\n")
    known = load_known_keys([str(path)])
    assert known.find(CERTIFICATE) == "stolen.txt"
    assert known.find(read(OTHER.der)) is None
    assert known and known.digest != load_known_keys([]).digest == ""
    assert not load_known_keys([])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.dat", None, "cannot be read: No such file"),
        ("odd.dat", b"x" * 17, "no blocklist of badkeys"),
        ("empty.dat", b"", "no blocklist of badkeys"),
        ("sums.txt", b"\n12345\n", "sums.txt:2: no SHA-256"),
        ("sums.txt", b"\xff\xfe\n", "sums.txt:1: no SHA-256"),
    ],
)
def test_a_list_that_cannot_be_had_is_said(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(KeyListError, match=message):
        load_known_keys([str(tmp_path / name)])
