"""The one line where SQLite's errors become the inventory's."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certwatch.inventory.store import InventoryError, InventoryErrorKind

#: By primary result code (https://www.sqlite.org/rescode.html).
_KINDS: dict[int, InventoryErrorKind] = {
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_READONLY: "read-only",
    sqlite3.SQLITE_PERM: "read-only",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "not-inventory",
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_INTERRUPT: "too-long",
}

_ADVICE: dict[InventoryErrorKind, str] = {
    "full": "no space left. Nothing of this step was kept; free some space and it goes on",
    "read-only": "cannot be written. Give this user write permission on the file and its folder, or mount the file system writable",
    "corrupt": "the file is damaged. Stop certwatch, keep a copy of the file, and restore the last backup",
    "not-inventory": "is not a certwatch inventory. Name another file in `inventory:`; this one is left as it is",
    "locked": "another program holds a lock on it. Close that program (an SQLite shell?) and try again",
    "not-found": "there is no such file. Check `inventory:` in the config, or let `certwatch run` or `collect` create it",
    "newer": "was written by a newer certwatch. Use that version, or restore a backup from before the upgrade",
    "too-long": "that takes too long to find. Ask for less: a whole name, an owner, a shorter time",
    "gone": "that page's beginning has been forgotten since. Begin again without it",
    "unreachable": "the server cannot be reached. See that it runs and that this machine may connect to it",
    "other": "the database refused. Run certwatch doctor",
}


def inventory_error(path: Path, kind: InventoryErrorKind, why: str = "") -> InventoryError:
    return InventoryError(kind, f"inventory {path}: {_ADVICE[kind]}" + (f" ({why})" if why else ""))


class Gone(Exception):
    """What a page was to go on after is no more."""


@contextmanager
def translate(path: Path) -> Iterator[None]:
    """Raises InventoryError in place of what SQLite or the file system raise."""
    try:
        yield
    except Gone as error:
        raise inventory_error(path, "gone") from error
    except sqlite3.Error as error:
        raise inventory_error(path, _kind(path, error), _reason(error)) from error
    except OSError as error:
        raise inventory_error(path, _os_kind(error), error.strerror or str(error)) from error
    except (LookupError, ValueError, OverflowError) as error:
        # Bytes changed within a row: SQLite does not see it, and then an id leads nowhere, JSON or UTF-8 breaks off.
        raise InventoryError(
            "corrupt",
            f"inventory {path}: what it holds contradicts itself ({error!r}). "
            "Run certwatch doctor: if it finds no damage, this is a fault of certwatch",
        ) from error


def _kind(path: Path, error: sqlite3.Error) -> InventoryErrorKind:
    # Errors that the binding itself raises (ProgrammingError, InterfaceError) have no code.
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return "other"
    primary = code & 0xFF
    if primary == sqlite3.SQLITE_CANTOPEN:
        return "read-only" if path.exists() else "not-found"
    # A write that meets a quota or a file size limit is an I/O error to SQLite, and so is a shared-memory file
    # that cannot grow; only ENOSPC on the main files is SQLITE_FULL.
    if code in (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_FSYNC):
        return "full"
    if primary == sqlite3.SQLITE_IOERR and not _has_space(path):
        return "full"
    return _KINDS.get(primary, "other")


def _has_space(path: Path) -> bool:
    try:
        room = os.statvfs(path.parent)
    except OSError:
        return True
    return room.f_bavail * room.f_frsize > 1 << 20


def _reason(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    return f"{error}, {name}" if name else str(error)


def _os_kind(error: OSError) -> InventoryErrorKind:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "read-only"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "full"
    if error.errno == errno.ENOENT:
        return "not-found"
    return "other"
