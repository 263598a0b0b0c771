"""Trust stores: files, folders and the platform's bundle."""

from pathlib import Path

import pytest

from certwatch.config import trust
from certwatch.config.load import ConfigError, read
from certwatch.plugins.testing import make_ca

ONE, TWO = make_ca("One"), make_ca("Two", key_number=101)


def anchors(*sources: str | Path) -> list[bytes]:
    ((_, found),) = trust.load_stores({"corp": [str(each) for each in sources]}, where="certwatch.yaml")
    return [each.der for each in found]


def test_files_and_folders_in_pem_and_der_make_one_store(tmp_path: Path) -> None:
    bundle, folder = tmp_path / "bundle.pem", tmp_path / "folder"
    folder.mkdir()
    bundle.write_bytes(b"a remark\n" + ONE.pem + TWO.pem)
    (folder / "two.der").write_bytes(TWO.der)
    (folder / "README").write_text("not a certificate")
    (folder / "gone.pem").symlink_to("nowhere")
    assert anchors(bundle) == [ONE.der, TWO.der]
    assert anchors(folder) == [TWO.der]
    assert anchors(bundle, folder) == [ONE.der, TWO.der]


def test_the_stores_keep_their_order_and_names(tmp_path: Path) -> None:
    for name, each in (("a", ONE), ("b", TWO)):
        (tmp_path / name).write_bytes(each.pem)
    config = read(f"trust: {{corp: {tmp_path}/b, other: ['{tmp_path}/a']}}", env={"HOME": "/x"})
    assert [(name, [each.subject for each in found]) for name, found in trust.load(config)] == [
        ("corp", ["CN=Two"]),
        ("other", ["CN=One"]),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"nothing\n", "holds no certificate in PEM or DER"),
        (b"", "holds no certificate in PEM or DER"),
        (ONE.key_pem, "holds no certificate in PEM or DER"),
        (ONE.pem[:-40], "CERTIFICATE at line 1 has no END line: it is cut off"),
        (b"\x30\x03\x02\x01\x01", "holds no certificate in PEM or DER"),
    ],
)
def test_a_file_that_is_no_trust_store_is_told(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "root.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        anchors(path)
    assert raised.value.messages == (f"certwatch.yaml: trust.corp: {path}: {reason}",)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError) as raised:
        anchors("/nonexistent", tmp_path / "folder")
    assert len(raised.value.messages) == 2
    assert raised.value.messages[1].endswith("folder: holds no certificate")


def test_the_platform_has_trust_anchors_or_says_what_to_install() -> None:
    try:
        found = trust.system()
    except ValueError as error:
        assert "Install ca-certificates" in str(error)
    else:
        assert all(each.subject_der is not None for each in found)
