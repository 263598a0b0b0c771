"""A copy beside the writer, and back."""

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from certwatch.inventory import open_inventory
from certwatch.inventory.backup import backup, restore
from certwatch.inventory.store import InventoryError
from certwatch.plugins.testing import make_certificate
from tests.support.inventories import opened

URI = "tls://203.0.113.7:443/"
FIRST, SECOND = make_certificate(), make_certificate(key_number=2)


def leaves(path: Path) -> list[bytes]:
    with closing(open_inventory(f"sqlite://{path}").reader()) as reader:
        assert reader.check() == []
        return [each.chain[0].der for each in reader.live()]


def test_a_copy_made_while_it_is_written_holds_what_was_there(tmp_path: Path) -> None:
    with opened("sqlite", tmp_path) as tried:
        tried.record(tried.look(URI, FIRST))
        copied = backup(tmp_path / "inventory.db", tmp_path / "copy.db")
        assert (copied.certificates, copied.locations) == (1, 1)
        tried.record(tried.look(URI, SECOND))
    assert leaves(tmp_path / "copy.db") == [FIRST.der]
    assert leaves(tmp_path / "inventory.db") == [SECOND.der]


def test_the_writer_goes_on_meanwhile_and_the_copy_is_sound(tmp_path: Path) -> None:
    with opened("sqlite", tmp_path) as tried:
        places = [f"tls://203.0.113.{n}:443/" for n in range(200)]
        tried.record(*(tried.look(each, FIRST) for each in places))
        done = threading.Event()

        def write() -> None:
            for number in range(30):
                chosen = SECOND if number % 2 else FIRST
                tried.record(*(tried.look(each, chosen) for each in places))
            done.set()

        writing = threading.Thread(target=write)
        writing.start()
        copies = 0
        while not done.is_set():
            backup(tmp_path / "inventory.db", tmp_path / f"copy-{copies}.db")
            copies += 1
        writing.join()
    assert copies
    for number in range(copies):
        assert len(set(leaves(tmp_path / f"copy-{number}.db"))) == 1


def test_it_writes_over_nothing(tmp_path: Path) -> None:
    with opened("sqlite", tmp_path):
        (tmp_path / "copy.db").write_text("mine")
        with pytest.raises(InventoryError, match="is there already"):
            backup(tmp_path / "inventory.db", tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"


def test_a_folder_that_is_not_there_is_named_as_such(tmp_path: Path) -> None:
    with opened("sqlite", tmp_path), pytest.raises(InventoryError, match=r"backups: there is no such folder"):
        backup(tmp_path / "inventory.db", tmp_path / "backups" / "copy.db")


def test_a_damaged_inventory_makes_no_copy(tmp_path: Path) -> None:
    path = tmp_path / "inventory.db"
    with opened("sqlite", tmp_path) as tried:
        tried.record(*(tried.look(f"tls://203.0.113.{n}:443/", FIRST) for n in range(100)))
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 4)
    with pytest.raises(InventoryError) as refused:
        backup(path, tmp_path / "copy.db")
    assert refused.value.kind in ("corrupt", "not-inventory")
    assert sorted(each.name for each in tmp_path.glob("copy*")) == []


def test_a_copy_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    with opened("sqlite", tmp_path) as tried:
        tried.record(tried.look(URI, FIRST))
        backup(tmp_path / "inventory.db", tmp_path / "copy.db")
        tried.record(tried.look(URI, SECOND))
    # A log that was left by a crash must not be played into the copy.
    (tmp_path / "inventory.db-wal").write_bytes(b"\x37\x7f\x06\x82" + bytes(100))
    restore(tmp_path / "copy.db", tmp_path / "inventory.db")
    assert leaves(tmp_path / "inventory.db") == [FIRST.der]
    restore(tmp_path / "copy.db", tmp_path / "new" / "inventory.db")
    assert leaves(tmp_path / "new" / "inventory.db") == [FIRST.der]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("is_there", [True, False])
def test_what_root_puts_back_belongs_to_who_keeps_the_inventory(tmp_path: Path, is_there: bool) -> None:
    # The daemon of the systemd unit could not open what `sudo certwatch restore` had left to it.
    with opened("sqlite", tmp_path):
        backup(tmp_path / "inventory.db", tmp_path / "copy.db")
    folder = tmp_path / "state"
    folder.mkdir()
    if is_there:
        (folder / "inventory.db").touch()
        os.chown(folder / "inventory.db", 65532, 65533)
    else:
        os.chown(folder, 65532, 65533)
    restore(tmp_path / "copy.db", folder / "inventory.db")
    for each in ("inventory.db", "inventory.db.lock"):
        found = (folder / each).stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65532, 65533, 0o600), each


def test_nothing_is_put_back_beside_a_writer(tmp_path: Path) -> None:
    with opened("sqlite", tmp_path) as tried:
        backup(tmp_path / "inventory.db", tmp_path / "copy.db")
        tried.record(tried.look(URI, FIRST))
        with pytest.raises(InventoryError) as refused:
            restore(tmp_path / "copy.db", tmp_path / "inventory.db")
        assert refused.value.kind == "locked"
        assert len(list(tried.reader.live())) == 1


def test_what_is_no_inventory_is_not_put_back(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE t (x)")
        other.commit()
    (tmp_path / "text").write_text("no database at all, only text" * 100)
    for name in ("other.db", "text"):
        with pytest.raises(InventoryError) as refused:
            restore(tmp_path / name, tmp_path / "inventory.db")
        assert refused.value.kind == "not-inventory"
    assert not (tmp_path / "inventory.db").exists()
