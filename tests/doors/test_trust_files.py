from pathlib import Path

import pytest

from certwatch.doors.trust_files import TrustError, load_trust
from certwatch.plugins.testing import make_ca
from certwatch.x509.der import read

ONE, TWO = make_ca("One", key_number=201), make_ca("Two", key_number=202)


@pytest.fixture(autouse=True)
def no_system_store_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


def test_stores_are_read_from_pem_der_and_folders_in_the_configured_order(tmp_path: Path) -> None:
    (tmp_path / "bundle.pem").write_bytes(b"# ours\n" + ONE.pem + TWO.pem)
    (tmp_path / "one.der").write_bytes(ONE.der)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "two.crt").write_bytes(TWO.pem)
    (folder / "README").write_text("not a certificate")
    stores = load_trust(
        {
            "z": [str(tmp_path / "bundle.pem")],
            "a": [str(tmp_path / "one.der"), str(folder)],
            "b": [str(folder)],
        }
    )
    assert list(stores) == ["z", "a", "b"]
    assert stores["z"].digest == stores["a"].digest != stores["b"].digest
    assert read(ONE.der) in stores["z"]
    assert read(ONE.der) not in stores["b"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read: No such file or directory. Name a file"),
        (b"", "holds no certificate"),
        (b"\x00\x01 nothing", "holds no certificate"),
        (ONE.key_pem, "holds no certificate"),
    ],
)
def test_a_store_that_cannot_be_had_is_refused(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "root.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrustError, match=rf"^trust\.corp: {path} {why}"):
        load_trust({"corp": [str(path)]})


def test_the_system_is_where_this_host_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "system.pem").write_bytes(ONE.pem)
    places = [str(tmp_path / "absent.pem"), str(tmp_path / "system.pem")]
    assert read(ONE.der) in load_trust({"public": ["system"]}, system_files=places)["public"]
    (tmp_path / "given.pem").write_bytes(TWO.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "given.pem"))
    assert read(TWO.der) in load_trust({"public": ["system"]}, system_files=places)["public"]


def test_a_host_without_a_store_has_an_empty_one() -> None:
    store = load_trust({"public": ["system"]}, system_files=[])["public"]
    assert not store.anchors
