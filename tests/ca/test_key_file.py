from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from certwatch.ca.failure import CAError
from certwatch.ca.key_file import create, load
from certwatch.plugins.testing import key


def test_a_key_is_written_encrypted_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "ca.key"
    made = create(path, "ec-p256", b"open sesame")
    assert b"ENCRYPTED PRIVATE KEY" in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert load(path, b"open sesame").public_key() == made.public_key()


@pytest.mark.parametrize("passphrase", [b"wrong", None])
def test_without_the_right_passphrase_it_does_not_open(tmp_path: Path, passphrase: bytes | None) -> None:
    create(tmp_path / "ca.key", "ec-p256", b"right")
    with pytest.raises(CAError) as raised:
        load(tmp_path / "ca.key", passphrase)
    assert raised.value.kind == "pin"


def test_no_key_is_written_over(tmp_path: Path) -> None:
    create(tmp_path / "ca.key", "ec-p256", b"x")
    with pytest.raises(CAError, match="never written over"):
        create(tmp_path / "ca.key", "ec-p256", b"x")


@pytest.mark.parametrize(
    "data", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", bytes(70_000)]
)
def test_what_is_no_key_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(CAError):
        load(tmp_path / "x", b"x")


def test_a_key_that_is_not_encrypted_is_refused(tmp_path: Path) -> None:
    plain = key("ec", 3).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "x").write_bytes(plain)
    with pytest.raises(CAError, match="not encrypted"):
        load(tmp_path / "x", b"x")


def test_the_key_does_not_leave_its_place(tmp_path: Path) -> None:
    made = create(tmp_path / "ca.key", "ec-p256", b"x")
    with pytest.raises(CAError, match="does not leave"):
        made.private_bytes()
