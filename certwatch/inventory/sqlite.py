"""The inventory in one SQLite file (write-ahead log): one writer, any number of readers that never wait for it.

What a crash loses. A process that dies loses the step it was in: every step is one transaction. A machine that
loses power may also lose steps already taken, but none up to the last finished scan: the log is synced to disk
when a scan ends (`synchronous=FULL` for that commit, which takes all earlier ones along), not for each batch in
between (`NORMAL`): a scan that never ended counts as failed anyhow, and a judgement lost is made again.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from certwatch.inventory.failures import inventory_error, translate
from certwatch.inventory.lock import WriterLock
from certwatch.inventory.session import Session
from certwatch.inventory.store import Reader, Writer
from certwatch.inventory.versions import APPLICATION_ID, VERSION
from certwatch.model.mark import Mark, MarkID
from certwatch.model.silence import Silence, SilenceID

#: How long to wait for the lock of a program that is not certwatch (an SQLite shell, a backup).
BUSY_SECONDS = 10

#: What every database begins with (https://www.sqlite.org/fileformat.html, 1.3.1).
_MAGIC = b"SQLite format 3\0"

_WRITER_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    # References are verified by Reader.check() and by SQLite when something is deleted (see SQLiteWriter.prune), not
    # with each row written: that takes a seventh of the time of recording.
    "PRAGMA foreign_keys = OFF",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -32768",  # KiB at most, taken as needed
    "PRAGMA wal_autocheckpoint = 10000",  # pages, 40 MB
    "PRAGMA journal_size_limit = 67108864",  # bytes that the log keeps after a burst
)


class SQLiteStore:
    is_shared = False

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Raises InventoryError; see `open_inventory`."""
        self._path = path
        with translate(path):
            if not path.exists():
                if not create:
                    raise inventory_error(path, "not-found")
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            if self._version(create=create) < VERSION:
                self._migrate()

    def _version(self, *, create: bool) -> int:
        with self._path.open("rb") as file:
            # SQLite takes a file of a few bytes for an empty database, and would write over it.
            if file.read(len(_MAGIC)) not in (b"", _MAGIC):
                raise inventory_error(self._path, "not-inventory")
        connection = connect_reading(self._path)
        try:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        finally:
            connection.close()
        if application != APPLICATION_ID and (application or version or tables or not create):
            raise inventory_error(self._path, "not-inventory")
        if version > VERSION:
            raise inventory_error(
                self._path, "newer", f"its schema is {version}, this version knows {VERSION}"
            )
        return int(version)

    def _migrate(self) -> None:
        from certwatch.inventory.schema import migrate

        lock = WriterLock(self._path)
        try:
            connection = connect_writing(self._path)
            try:
                migrate(connection)
            finally:
                connection.close()
        finally:
            lock.release()

    def writer(self, *, keeps_turn: bool = False) -> Writer:
        """The one writer; also "locked" if this process has it already."""
        from certwatch.inventory.writer import SQLiteWriter

        lock = WriterLock(self._path)
        try:
            with translate(self._path):
                return SQLiteWriter(self._path, connect_writing(self._path), lock)
        except BaseException:
            lock.release()
            raise

    def reader(self) -> Reader:
        from certwatch.inventory.reader import SQLiteReader

        with translate(self._path):
            return SQLiteReader(self._path, connect_reading(self._path))

    def silence(self, new: Silence) -> Silence:
        from certwatch.inventory import silences

        with self.beside() as connection:
            return silences.add(connection, new)

    def end_silence(self, id: SilenceID, now: datetime) -> Silence | None:
        from certwatch.inventory import silences

        with self.beside() as connection:
            return silences.end(connection, id, now)

    def mark(self, new: Mark) -> Mark:
        from certwatch.inventory import marks

        with self.beside() as connection:
            return marks.add(connection, new)

    def end_mark(self, id: MarkID, now: datetime) -> Mark | None:
        from certwatch.inventory import marks

        with self.beside() as connection:
            return marks.end(connection, id, now)

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        from certwatch.inventory.reader import SQLiteReader

        with translate(self._path):
            reader = SQLiteReader(self._path, connect_reading(self._path))
        with closing(reader), reader._snapshot() as session:
            yield session

    @contextmanager
    def filling(self) -> Iterator[Session]:
        from certwatch.inventory.writer import SQLiteWriter

        writer = self.writer()
        assert isinstance(writer, SQLiteWriter)  # noqa: S101
        with closing(writer), writer._transaction("durable") as session:
            yield session

    @contextmanager
    def beside(self) -> Iterator[Session]:
        """A short transaction beside the writer, on disk when it is over. Raises InventoryError."""
        with translate(self._path), closing(connect_writing(self._path)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")


class SQLiteSession(sqlite3.Connection):
    """Keeps the promise of `session.Session`."""

    texts = "meta"
    unindexed = "+"
    chunk = 500

    def insert(self, table: str, rows: Sequence[Sequence[Any]], conflict: str = "") -> None:
        if rows:
            self.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))}) {conflict}", rows)

    def update(
        self, table: str, columns: Sequence[str], keys: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        self.executemany(
            f"UPDATE {table} SET {', '.join(f'{each} = ?' for each in columns)}"
            f" WHERE {' AND '.join(f'{each} = ?' for each in keys)}",
            rows,
        )

    def next_ids(self, table: str, count: int) -> Sequence[int]:
        (last,) = self.execute(
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?", (table,)
        ).fetchone()
        return range(last + 1, last + 1 + count)

    def last_id(self, table: str) -> int:
        (last,) = self.execute(
            f"SELECT max((SELECT coalesce(max(id), 0) FROM {table}),"
            " coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?), 0))",
            (table,),
        ).fetchone()
        return int(last)

    def set_last_id(self, table: str, last: int) -> None:
        # A table without AUTOINCREMENT has no row there, and needs none.
        self.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (last, table))

    def stream(self, sql: str, /) -> Iterator[Sequence[Any]]:
        yield from self.execute(sql)

    def scratch(self, table: str, columns: str) -> None:
        self.execute(f"CREATE TEMP TABLE IF NOT EXISTS {table} ({columns})")
        self.execute(f"DELETE FROM temp.{table}")

    def damage(self, most: int) -> list[str]:
        self.create_function("sha256", 1, lambda der: sha256(der).digest(), deterministic=True)
        found = [
            f"the file is damaged: {line}"
            for (line,) in self.execute(f"PRAGMA integrity_check({most})")
            if line != "ok"
        ]
        return found + [
            f"{table}, row {row}: names a row of {parent} that is not there"
            for table, row, parent, _ in self.execute("PRAGMA foreign_key_check").fetchmany(most)
        ]


def connect_writing(path: Path) -> SQLiteSession:
    connection = _connect(path, "mode=rw")
    try:
        for pragma in _WRITER_PRAGMAS:
            connection.execute(pragma)
        # A file that cannot be written opens all the same: find out now rather than at the end of a scan.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reading(path: Path) -> SQLiteSession:
    connection = _connect(path, "mode=ro")
    try:
        # The log is opened by the first statement that reads, not by connect.
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
        return connection
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        log = Path(f"{path}-wal")
        if not path.exists() or (log.exists() and log.stat().st_size):
            raise
    except BaseException:
        connection.close()
        raise
    # A folder that cannot be written (a snapshot, a mounted backup): SQLite cannot make its shared memory there.
    # Nothing is left in the log, so that the file alone is whole, and nobody can be writing it.
    return _connect(path, "mode=ro&immutable=1")


def _connect(path: Path, options: Literal["mode=rw", "mode=ro", "mode=ro&immutable=1"]) -> SQLiteSession:
    # Transactions are begun by hand (isolation_level None). The owner's calls come one at a time, but may come
    # from different threads of a pool.
    connection: SQLiteSession = sqlite3.connect(
        f"file:{quote(str(path))}?{options}",
        uri=True,
        factory=SQLiteSession,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_SECONDS,
        cached_statements=256,
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection
