"""The inventory in PostgreSQL, behind the same promise as in SQLite.

Writers of all processes take turns: each transaction, a few milliseconds, begins with one advisory lock, so that what
the write path assumes (nobody else changes what it has read) holds. Readers never wait for them.

What a crash loses: as with SQLite. A transaction is there for everybody when it is committed; the server waits for its
disk (`synchronous_commit`) only when a scan ends, which takes all earlier ones along.
"""

import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import psycopg

from certwatch.inventory import marks, silences
from certwatch.inventory.postgresql.failures import inventory_error, translate
from certwatch.inventory.postgresql.schema import LOCKS, WRITING, bring_up
from certwatch.inventory.postgresql.session import Connection, PostgreSQLSession, query_of
from certwatch.inventory.reading import InventoryReader
from certwatch.inventory.session import Session
from certwatch.inventory.store import InventoryError, Reader, Writer
from certwatch.inventory.writing import InventoryWriter, Special
from certwatch.model.mark import Mark, MarkID
from certwatch.model.silence import Silence, SilenceID
from certwatch.telemetry.metrics import INVENTORY_WRITE_FAILURES

#: For one attempt at a connection.
CONNECT_SECONDS = 10
#: A writer that stands still within a transaction (stopped, its machine asleep) keeps the others waiting no longer.
IDLE_SECONDS = 20
#: For the others' turns.
LOCK_SECONDS = 60

#: Unless the URL says otherwise.
_CHOSEN: Mapping[str, int | str] = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "certwatch",
    # A server that is gone without a word is found out, while nothing is said and while something is.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

_HOSTS = re.compile(r"([^,:\[\]]*|\[[^\[\]]*\])(:\d+)?(,([^,:\[\]]*|\[[^\[\]]*\])(:\d+)?)*")


class PostgreSQLStore:
    def __init__(self, url: str, *, create: bool = True) -> None:
        """Raises InventoryError; see `open_inventory`."""
        self._url = url
        hosts = urlsplit(url).netloc
        if hosts.count("@") > 1 or not _HOSTS.fullmatch(hosts.rpartition("@")[2]):
            # libpq would take a part of the password for a host, and say it.
            raise InventoryError(
                "other",
                "inventory postgresql://…: not an address that libpq understands: the password has a sign (@, /, :, %) that"
                " must be written as %40, %2F, %3A, %25, or the port is none",
            )
        with translate(url):
            connection = connect(url)
            try:
                bring_up(url, connection, create=create)
            finally:
                connection.close()

    def writer(self) -> Writer:
        """One of any number: they take turns."""
        return PostgreSQLWriter(self._url)

    def reader(self) -> Reader:
        return PostgreSQLReader(self._url)

    def silence(self, new: Silence) -> Silence:
        with self._beside() as session:
            return silences.add(session, new)

    def end_silence(self, id: SilenceID, now: datetime) -> Silence | None:
        with self._beside() as session:
            return silences.end(session, id, now)

    def mark(self, new: Mark) -> Mark:
        with self._beside() as session:
            return marks.add(session, new)

    def end_mark(self, id: MarkID, now: datetime) -> Mark | None:
        with self._beside() as session:
            return marks.end(session, id, now)

    @contextmanager
    def _beside(self) -> Iterator[Session]:
        line = Line(self._url)
        try:
            with translate(self._url), line.writing(durable=True) as session:
                yield session
        finally:
            line.close()


def connect(url: str) -> Connection:
    """Raises psycopg.Error. Transactions are begun by hand."""
    chosen: dict[str, Any] = {name: value for name, value in _CHOSEN.items() if f"{name}=" not in url}
    return psycopg.connect(url, autocommit=True, prepare_threshold=None, client_encoding="utf8", **chosen)


class Line:
    """One connection, made when it is needed and made again when it broke. Its owner's calls come one at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None
        self._closed = False

    def close(self) -> None:
        self._closed = True
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def writing(self, *, durable: bool) -> Iterator[PostgreSQLSession]:
        """All or nothing, alone among all writers. Raises psycopg.Error."""
        connection = self._begin(
            "BEGIN;"
            f" SET LOCAL synchronous_commit = {'on' if durable else 'off'};"
            f" SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s';"
            f" SET LOCAL lock_timeout = '{LOCK_SECONDS}s';"
            f" SELECT pg_advisory_xact_lock({LOCKS}, {WRITING})"
        )
        with self._ended(connection, "COMMIT"):
            yield PostgreSQLSession(connection)

    @contextmanager
    def reading(self, seconds: float | None) -> Iterator[PostgreSQLSession]:
        """One instant's state. Raises psycopg.Error."""
        limit = 0 if seconds is None else max(1, math.ceil(seconds * 1000))
        connection = self._begin(
            f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {limit}"
        )
        with self._ended(connection, "ROLLBACK"):
            yield PostgreSQLSession(connection)

    def _begin(self, statements: str) -> Connection:
        if self._closed:
            raise psycopg.InterfaceError("closed")
        if self._connection is not None:
            # The server may have restarted since: nothing is lost by beginning on another connection.
            try:
                self._connection.execute(query_of(statements))
                return self._connection
            except psycopg.OperationalError:
                if not self._connection.closed:
                    self._end(self._connection)
                    raise
        self._connection = connect(self._url)
        try:
            self._connection.execute(query_of(statements))
        except BaseException:
            self._end(self._connection)
            raise
        return self._connection

    @contextmanager
    def _ended(self, connection: Connection, statement: str) -> Iterator[None]:
        try:
            yield
            connection.execute(query_of(statement))
        except BaseException:
            self._end(connection)
            raise

    def _end(self, connection: Connection) -> None:
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            with suppress(psycopg.Error):
                connection.close()


class PostgreSQLReader(InventoryReader):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._line = Line(url)
        # By time.monotonic. None: there is time.
        self._deadline: float | None = None

    def limit_time(self, seconds: float | None) -> None:
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def close(self) -> None:
        self._line.close()

    @contextmanager
    def _snapshot(self) -> Iterator[Session]:
        left = None if self._deadline is None else self._deadline - time.monotonic()
        if left is not None and left <= 0:
            raise inventory_error(self._url, "too-long")
        with translate(self._url), self._line.reading(left) as session:
            try:
                yield session
            except TypeError as error:
                # What the caller gave was looked at before: a row has nothing where something must be.
                raise LookupError(f"a row is not whole: {error}") from error


class PostgreSQLWriter(InventoryWriter):
    def __init__(self, url: str) -> None:
        self._url = url
        self._line = Line(url)

    def close(self) -> None:
        """May be called twice."""
        self._line.close()

    @contextmanager
    def _transaction(self, special: Special | None = None) -> Iterator[Session]:
        try:
            with translate(self._url), self._line.writing(durable=special == "durable") as session:
                yield session
        except InventoryError as error:
            INVENTORY_WRITE_FAILURES.labels(error.kind).inc()
            raise
