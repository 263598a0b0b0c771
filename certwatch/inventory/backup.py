"""A copy of an inventory, while it is written; and a copy put back."""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from certwatch.inventory.failures import inventory_error, translate
from certwatch.inventory.lock import WriterLock, lock_path
from certwatch.inventory.sqlite import connect_reading
from certwatch.inventory.store import InventoryError
from certwatch.inventory.versions import APPLICATION_ID, VERSION

#: Pages of one step: the writer waits no longer than one takes.
PAGES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    bytes: int
    certificates: int
    locations: int


def backup(source: Path, target: Path) -> Copied:
    """A consistent copy, checked, beside whoever writes. `target` must not exist; it appears whole or not at all. Raises
    InventoryError."""
    if target.exists():
        raise InventoryError("other", f"{target}: is there already. Name a file that is not")
    if not target.parent.is_dir():
        raise InventoryError(
            "other", f"{target.parent}: there is no such folder. Make it, or name another file"
        )
    with translate(source), closing(connect_reading(source)) as reading:
        copied = _copy(reading, target, source)
    return copied


def restore(source: Path, target: Path) -> Copied:
    """Put a copy in place of an inventory, whose former content is lost. Refused while somebody writes it ("locked") and
    for what is no inventory, is damaged or newer. It belongs to whom the former one, or the folder, belongs. Raises
    InventoryError."""
    with translate(target):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        keeper = (target if target.exists() else target.parent).stat()
    lock = WriterLock(target)
    try:
        with translate(source), closing(connect_reading(source)) as reading:
            (application,) = reading.execute("PRAGMA application_id").fetchone()
            (version,) = reading.execute("PRAGMA user_version").fetchone()
            if application != APPLICATION_ID:
                raise inventory_error(source, "not-inventory")
            if version > VERSION:
                raise inventory_error(
                    source, "newer", f"its schema is {version}, this version knows {VERSION}"
                )
            return _copy(reading, target, source, keeper)
    finally:
        lock.release()


def _copy(
    reading: sqlite3.Connection, target: Path, source: Path, keeper: os.stat_result | None = None
) -> Copied:
    """By SQLite's online backup, verified, then renamed into place. `keeper`: whose it is to be, if root does it; None:
    root's."""
    part = target.with_name(target.name + ".part")
    with translate(part):
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        if keeper is not None and os.geteuid() == 0:
            # A daemon that does not run as root must open them.
            for owned in (part, lock_path(target)):
                os.chown(owned, keeper.st_uid, keeper.st_gid)
    try:
        with translate(part), closing(sqlite3.connect(part)) as writing:
            reading.backup(writing, pages=PAGES)
            # A copy is one file; who opens it as an inventory switches the log on again.
            writing.execute("PRAGMA journal_mode = DELETE")
            (sound,) = writing.execute("PRAGMA integrity_check(1)").fetchone()
            if sound != "ok":
                raise inventory_error(source, "corrupt", str(sound))
            (certificates,) = writing.execute("SELECT count(*) FROM certificates").fetchone()
            (locations,) = writing.execute("SELECT count(*) FROM locations").fetchone()
        with translate(target), part.open("rb") as file:
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
            # The log of a former content must not be taken for one of the new: it goes first, with what it held.
            for each in ("-wal", "-shm"):
                target.with_name(target.name + each).unlink(missing_ok=True)
            part.replace(target)
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return Copied(bytes=size, certificates=certificates, locations=locations)
