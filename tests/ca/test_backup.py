import io
import sqlite3
import tarfile
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from certwatch.ca import audit, crl
from certwatch.ca.audit_entries import CRL_LEAP
from certwatch.ca.backup import backup, restore
from certwatch.ca.failure import CAError
from certwatch.plugins.testing import FakeClock
from tests.support.cas import SECRETS, authority, issued, settings

LATER = FakeClock()
LATER.advance(hours=1)


def copied(folder: Path) -> Path:
    with authority(folder, intermediate=True) as ca:
        kept = issued(ca)
        crl.revoke(ca, issued(ca).serial, "superseded", "ann")
        crl.current(ca, ca.issuer(), 0)
        found = backup(ca.settings.directory, folder / "copy")
        assert (found.certificates, found.entries) == (3, ca.ledger.size)
        assert found.keys["Test Root"] == f"file:{folder}/ca.key"
        assert kept.serial
    return folder / "copy"


def restored(file: Path, folder: Path) -> None:
    restore(file, settings(folder), SECRETS, LATER, by="ann")


def test_a_copy_that_was_put_back_issues_and_remembers(tmp_path: Path) -> None:
    file = copied(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    (tmp_path / "new").mkdir()
    restored(file, tmp_path / "new")
    with authority(tmp_path / "new", LATER) as ca:
        [(entry,)] = ca.rows("SELECT entry FROM ledger ORDER BY position DESC LIMIT 1")
        assert b'"kind":"restored"' in entry
        issued(ca).certificate.verify_directly_issued_by(ca.issuer().certificate)
        made = x509.load_der_x509_crl(crl.make(ca, ca.issuer(), 0))
        assert len(list(made)) == 1
        assert made.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number > CRL_LEAP
        assert audit.verify(ca.settings.directory).wrong == []


def test_keys_that_sign_certificates_are_not_in_it(tmp_path: Path) -> None:
    file = copied(tmp_path)
    with tarfile.open(file) as tar:
        assert tar.getnames() == ["keys.json", "checkpoint.key", "ca.db"]
    assert b"PRIVATE KEY" not in file.read_bytes()


def test_a_ca_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    file = copied(tmp_path)
    with pytest.raises(CAError, match="there is a CA already"):
        restored(file, tmp_path)
    with pytest.raises(CAError, match="is there already"):
        backup(tmp_path / "ca", file)
    with authority(tmp_path) as ca:
        issued(ca)


def test_a_copy_that_was_changed_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    file = copied(tmp_path)
    with tarfile.open(file) as tar:
        parts = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    (tmp_path / "db").write_bytes(parts["ca.db"])
    connection = sqlite3.connect(tmp_path / "db")
    with connection:
        connection.execute("UPDATE certificates SET revoked = NULL, reason = NULL")
    connection.close()
    parts["ca.db"] = (tmp_path / "db").read_bytes()
    with tarfile.open(tmp_path / "changed", "w") as tar:
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with pytest.raises(CAError, match="its row says not revoked"):
        restored(tmp_path / "changed", tmp_path / "new")
    assert [each.name for each in (tmp_path / "new" / "ca").iterdir()] == ["ca.lock"]


@pytest.mark.parametrize("content", [b"", b"junk" * 1000, b"\0" * 10240])
def test_what_is_no_copy_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CAError, match="is no copy of a CA"):
        restored(tmp_path / "file", tmp_path / "new")


def test_a_copy_is_taken_beside_who_issues(tmp_path: Path) -> None:
    with authority(tmp_path) as ca:
        for number in range(3):
            issued(ca, lifetime=timedelta(days=1))
            backup(ca.settings.directory, tmp_path / f"copy-{number}")
