"""The CA's SQLite file: one process has it, and what is committed is on disk."""

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from certwatch.ca.failure import CAError, CAErrorKind

APPLICATION_ID = 0x43574341  # "CWCA"
#: The scripts of each version, in order: a new file is made by all of them, an older one by those that it lacks.
SCRIPTS = ("schema.sql", "schema_2.sql", "schema_3_acme.sql", "schema_4.sql", "schema_5.sql")
VERSION = len(SCRIPTS)
BUSY_SECONDS = 5

_KINDS: dict[int, tuple[CAErrorKind, str]] = {
    sqlite3.SQLITE_FULL: ("full", "no space left. Nothing of this step was kept"),
    sqlite3.SQLITE_READONLY: (
        "other",
        "cannot be written. Give this user write permission on it and its folder",
    ),
    sqlite3.SQLITE_CANTOPEN: ("not-found", "cannot be opened"),
    sqlite3.SQLITE_BUSY: ("locked", "another program holds a lock on it. Close it and try again"),
    sqlite3.SQLITE_CORRUPT: ("ledger", "the file is damaged. Keep a copy and restore the last backup"),
    sqlite3.SQLITE_NOTADB: ("ledger", "is not a CA of certwatch"),
}


def file_of(directory: Path) -> Path:
    return directory / "ca.db"


@contextmanager
def translate(path: Path) -> Iterator[None]:
    """The one line where SQLite's and the file system's errors become ours."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        kind, advice = _KINDS.get((code or 0) & 0xFF, ("other", "the database refused"))
        if code in (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_SHMSIZE):
            kind, advice = _KINDS[sqlite3.SQLITE_FULL]
        raise CAError(kind, f"{path}: {advice} ({error})") from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise CAError("full" if full else "other", f"{path}: {error.strerror}") from error


class Lock:
    """One process on one CA: held until `release` or the end of the process, however it ends."""

    def __init__(self, directory: Path) -> None:
        """Raises CAError "locked", naming the holder."""
        path = directory / "ca.lock"
        with translate(path):
            self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 32, 0).strip().decode("ascii", "replace")
            os.close(self._file)
            self._file = None
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise CAError(
                "locked", f"CA in {directory}: {who} has it, and only one may. Stop that one or ask it"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """May be called twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def create(directory: Path) -> None:
    """An empty CA, if there is none yet. The caller holds the lock."""
    path = file_of(directory)
    if path.exists() and path.stat().st_size:
        return
    with translate(path):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = connect(path)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            _bring_up(connection, 0)
            connection.execute("COMMIT")
        finally:
            connection.close()


def _bring_up(connection: sqlite3.Connection, version: int) -> None:
    """Inside a transaction."""
    for script in SCRIPTS[version:]:
        for statement in files(__package__).joinpath(script).read_text().split(";\n"):
            if statement.strip():
                connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def upgrade(connection: sqlite3.Connection) -> None:
    """An older file becomes one of this version, or stays as it was. The caller holds the lock."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < VERSION:
        connection.execute("BEGIN IMMEDIATE")
        _bring_up(connection, version)
        connection.execute("COMMIT")


def connect(path: Path, *, write: bool = True) -> sqlite3.Connection:
    """Raises sqlite3.Error. Transactions are begun by hand."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={'rw' if write else 'ro'}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_SECONDS,
        cached_statements=256,
    )
    try:
        if write:
            connection.execute("PRAGMA journal_mode = WAL")
            # Every commit is on disk before anything that it records is shown to anybody.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA wal_autocheckpoint = 10000")
            connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def open_existing(directory: Path, *, write: bool = True) -> sqlite3.Connection:
    """Raises CAError."""
    path = file_of(directory)
    if not path.exists():
        raise CAError(
            "not-found", f"{directory}: there is no CA. Make one: certwatch ca init --name NAME --root"
        )
    with translate(path):
        connection = connect(path, write=write)
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID or version > VERSION:
        connection.close()
        why = (
            "was written by a newer certwatch"
            if application == APPLICATION_ID
            else "is not a CA of certwatch"
        )
        raise CAError("ledger", f"{path}: {why}")
    return connection
