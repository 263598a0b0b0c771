"""The inventory in PostgreSQL, behind the same promise as in SQLite.

One process at a time is the writer, on whatever machine: an advisory lock that its connection holds, so that the server
gives it to another when that connection ends. What is written beside it (silences, marks) takes turns with it: each
transaction, a few milliseconds, begins with another lock, so that what the write path assumes (nobody else changes what it
has read) holds. Readers never wait.

What a crash loses: nothing that was committed, as long as the server's `synchronous_commit` is not off, which nobody touches
here. A server that takes over without all of it (a replica that was behind) may have lost what a scan saw: the scans that ran
meanwhile end as partial, so that nothing is retired by them.
"""

import math
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psycopg

from certwatch.inventory import marks, silences
from certwatch.inventory.postgresql import clocks
from certwatch.inventory.postgresql.failures import inventory_error, shown, translate
from certwatch.inventory.postgresql.schema import LEADING, LOCKS, WRITING, bring_up
from certwatch.inventory.postgresql.session import Connection, PostgreSQLSession, query_of
from certwatch.inventory.reading import InventoryReader
from certwatch.inventory.session import Session
from certwatch.inventory.store import InventoryError, Reader, Recorded, Writer
from certwatch.inventory.writing import InventoryWriter, Special
from certwatch.model.mark import Mark, MarkID
from certwatch.model.observation import Incomplete, LookError, Observation, Scan, ScanID
from certwatch.model.silence import Silence, SilenceID
from certwatch.telemetry.metrics import INVENTORY_WRITE_FAILURES

T = TypeVar("T")

#: A setting of the session that holds the writer's lock: whose it is.
LEADER = "certwatch.leader"

#: For one attempt at a connection.
CONNECT_SECONDS = 10
#: A writer that stands still (stopped, its machine asleep, a partition) keeps the others waiting no longer.
IDLE_SECONDS = 20
#: For a server that was there and restarts.
RESTART_SECONDS = 20.0
#: For the others' turns.
LOCK_SECONDS = 60
#: Scans that may run at once.
MOST_BEGUN = 10_000

#: Whatever the server's default is: who has waited for its turn must see what the one before it wrote.
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"

#: Unless the URL says otherwise.
CHOSEN: Mapping[str, int | str] = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "certwatch",
    # A server that is gone without a word is found out, while nothing is said and while something is.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

_RESTARTED = LookError(
    kind="other",
    message="the database server restarted or failed over while it ran: what it saw last may be lost. Nothing was retired",
)

#: Of the session: who stands still for longer has lost its turn, as one whose machine is gone.
_LET_GO = "SELECT set_config('idle_session_timeout', ?, false)"

_HOSTS = re.compile(r"([^,:\[\]]*|\[[^\[\]]*\])(:\d+)?(,([^,:\[\]]*|\[[^\[\]]*\])(:\d+)?)*")


class PostgreSQLStore:
    is_shared = True

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

    def writer(self, *, keeps_turn: bool = False) -> Writer:
        """The one writer; also "locked" if this process has it already."""
        return PostgreSQLWriter(self._url, keeps_turn=keeps_turn)

    def reader(self) -> Reader:
        return PostgreSQLReader(self._url)

    def silence(self, new: Silence) -> Silence:
        with self.beside() as session:
            return silences.add(session, new)

    def end_silence(self, id: SilenceID, now: datetime) -> Silence | None:
        with self.beside() as session:
            return silences.end(session, id, now)

    def mark(self, new: Mark) -> Mark:
        with self.beside() as session:
            return marks.add(session, new)

    def end_mark(self, id: MarkID, now: datetime) -> Mark | None:
        with self.beside() as session:
            return marks.end(session, id, now)

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        reader = PostgreSQLReader(self._url)
        with closing(reader), reader._snapshot() as session:
            yield session

    @contextmanager
    def filling(self) -> Iterator[Session]:
        writer = PostgreSQLWriter(self._url)
        with closing(writer), writer._transaction("durable") as session:
            yield session

    @contextmanager
    def beside(self) -> Iterator[Session]:
        line = Line(self._url)
        try:
            with translate(self._url), line.writing() as session:
                yield session
        finally:
            line.close()


def connect(url: str) -> Connection:
    """Raises psycopg.Error. Transactions are begun by hand."""
    chosen: dict[str, Any] = {name: value for name, value in CHOSEN.items() if f"{name}=" not in url}
    connection = psycopg.connect(
        url, autocommit=True, prepare_threshold=None, client_encoding="utf8", **chosen
    )
    # Of the transactions that psycopg begins: see `_BEGIN`.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    return connection


class Line:
    """One connection, made when it is needed and made again when it broke. Its owner's calls come one at a time."""

    def __init__(self, url: str, *, leads: bool = False, keeps_turn: bool = False) -> None:
        """`leads`: with the writer's lock. `keeps_turn`: and without it when nothing is said for `IDLE_SECONDS`."""
        self._url = url
        self._leads = leads
        self._keeps_turn = keeps_turn
        # Stands in the session that holds the lock: who finds another one there, or none, is not in it.
        self._token = secrets.token_hex(8)
        self._connection: Connection | None = None
        self._closed = False
        #: Which start of which server it talks to. Empty: none yet.
        self.server = ""

    def close(self) -> None:
        self._closed = True
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def writing(self) -> Iterator[PostgreSQLSession]:
        """All or nothing, alone among all writers. Raises psycopg.Error."""
        connection = self._begin(
            f"{_BEGIN};"
            f" SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s';"
            # A limit that the server has for people's questions is none for a step, which must come to its end.
            " SET LOCAL statement_timeout = 0;"
            # Steps of milliseconds: to compile one takes longer than to do it.
            " SET LOCAL jit = off;"
            f" SET LOCAL lock_timeout = '{LOCK_SECONDS}s';"
            # Who takes no answer any more holds the turn no longer than who says nothing.
            f" SET LOCAL tcp_user_timeout = '{IDLE_SECONDS}s';"
            f" SELECT pg_advisory_xact_lock({LOCKS}, {WRITING});"
            f" SELECT coalesce(current_setting('{LEADER}', true), '')"
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

    @contextmanager
    def plain(self, *, durable: bool = False) -> Iterator[PostgreSQLSession]:
        """All or nothing, beside whoever writes the inventory, whose tables it leaves alone; a crash may undo it a moment
        later, unless it is `durable`. Raises psycopg.Error."""
        connection = self._begin(
            f"{_BEGIN};"
            + ("" if durable else " SET LOCAL synchronous_commit = off;")
            + f" SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s';"
            f" SET LOCAL statement_timeout = '{LOCK_SECONDS}s'"
        )
        with self._ended(connection, "COMMIT"):
            yield PostgreSQLSession(connection)

    def _begin(self, statements: str) -> Connection:
        if self._closed:
            raise psycopg.InterfaceError("closed")
        if self._connection is not None:
            # The server may have restarted since: nothing is lost by beginning on another connection.
            try:
                self._say(self._connection, statements)
                return self._connection
            except psycopg.OperationalError:
                if not self._connection.closed:
                    self._end(self._connection)
                    raise
        patience = RESTART_SECONDS if self._connection is not None else 0.0
        self._connection = self._connected(time.monotonic() + patience)
        try:
            self._say(self._connection, statements)
        except BaseException:
            self._end(self._connection)
            raise
        return self._connection

    def _say(self, connection: Connection, statements: str) -> None:
        """Begin a transaction. Who leads does it in the session that has its lock, or not at all. Raises psycopg.Error,
        InventoryError."""
        cursor = connection.execute(query_of(statements))
        if not self._leads:
            return
        while cursor.nextset():
            pass
        if cursor.fetchone() != (self._token,):
            self._end(connection)
            raise pooled(self._url)

    def open(self) -> None:
        """Now rather than with the first step."""
        self._connection = self._connected(time.monotonic())

    def _connected(self, deadline: float) -> Connection:
        """Tried until then, in case that the server restarts. Raises InventoryError "locked" if it has another writer."""
        pause = 0.1
        while True:
            try:
                connection = connect(self._url)
                break
            except psycopg.OperationalError:
                if time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 2.0)
        try:
            if self._leads:
                self._lead(connection)
                self.server = _server(PostgreSQLSession(connection))
        except BaseException:
            connection.close()
            raise
        return connection

    def _lead(self, connection: Connection) -> None:
        with connection.transaction():
            session = PostgreSQLSession(connection)
            if _leader(session):
                raise pooled(self._url)
            (leads,) = session.execute("SELECT pg_try_advisory_lock(?, ?)", (LOCKS, LEADING)).fetchone()
            if not leads:
                raise InventoryError(
                    "locked",
                    f"inventory {shown(self._url)}: {_holder(session)} is writing it already, and only one may",
                )
            session.execute("SELECT set_config(?, ?, false)", (LEADER, self._token))
            if self._keeps_turn:
                # With the lock: who stood still before it first kept its turn would have it for ever.
                session.execute(_LET_GO, (f"{IDLE_SECONDS}s",))
            # A machine that is gone without a word leads no longer than this.
            connection.execute(
                "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 4"
            )
        # Is the session ours alone? A pooler that has it back after each transaction gives it to whoever comes next.
        with closing(connect(self._url)) as another:
            is_pooled = _leader(PostgreSQLSession(another)) == self._token
        if is_pooled:
            connection.execute(
                query_of(f"BEGIN; SELECT pg_advisory_unlock({LOCKS}, {LEADING}); RESET {LEADER}; COMMIT")
            )
            raise pooled(self._url)

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


def pooled(url: str) -> InventoryError:
    return InventoryError(
        "other",
        f"inventory {shown(url)}: a pooler gives the connection to others between two transactions, so that the writer's lock"
        " does not hold. Let PgBouncer have pool_mode = session for this database, or connect to the server itself",
    )


def _server(session: Session) -> str:
    (name,) = session.execute(
        "SELECT concat(inet_server_addr(), ' ', inet_server_port(), ' ', pg_postmaster_start_time())"
    ).fetchone()
    return str(name)


def _leader(session: Session) -> str:
    (token,) = session.execute("SELECT coalesce(current_setting(?, true), '')", (LEADER,)).fetchone()
    return str(token)


def _holder(session: Session) -> str:
    row = session.execute(
        "SELECT coalesce(host(a.client_addr), 'the server itself'), a.backend_start::text FROM pg_locks l"
        " JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.classid = ? AND l.objid = ?"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (LOCKS, LEADING),
    ).fetchone()
    return "another process" if row is None else f"a process on {row[0]}, since {row[1]},"


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
    def __init__(self, url: str, *, keeps_turn: bool = False) -> None:
        self._url = url
        self._line = Line(url, leads=True, keeps_turn=keeps_turn)
        # On which start of the server each running scan began.
        self._begun: dict[ScanID, str] = {}
        with translate(url):
            self._line.open()

    def close(self) -> None:
        """May be called twice."""
        self._line.close()

    @contextmanager
    def _transaction(self, special: Special | None = None) -> Iterator[PostgreSQLSession]:
        try:
            with translate(self._url), self._line.writing() as session:
                yield session
        except InventoryError as error:
            INVENTORY_WRITE_FAILURES.labels(error.kind).inc()
            raise

    def keep_turn(self) -> None:
        with self._transaction() as session:
            session.execute(_LET_GO, (f"{IDLE_SECONDS}s",))

    def begin_scan(self, collector: str, now: datetime) -> ScanID:
        with self._transaction() as session:
            clocks.note(session, now)
        scan = super().begin_scan(collector, now)
        self._begun[scan] = self._line.server
        if len(self._begun) > MOST_BEGUN:
            del self._begun[next(iter(self._begun))]
        return scan

    def _unsure(self, scan: ScanID) -> Sequence[Incomplete]:
        if self._begun.get(scan) in (None, self._line.server):
            return ()
        return (Incomplete(scope="", error=_RESTARTED),)

    def _forget_ended(self, connection: Session) -> None:
        connection.execute(
            "DELETE FROM zone_scans z USING scans s WHERE s.id = z.scan AND s.status <> 'running'"
        )

    # What may be said twice is said again when the connection broke off in the middle: whether it was kept is not known.

    def record(
        self, scan: ScanID, observations: Sequence[Observation], labels: Mapping[str, str] | None = None
    ) -> Recorded:
        return self._again(lambda: super(PostgreSQLWriter, self).record(scan, observations, labels))

    def finish_scan(
        self,
        scan: ScanID,
        incomplete: Sequence[Incomplete],
        now: datetime,
        *,
        failed: LookError | None = None,
        unchanged: Collection[str] = (),
        continued: Mapping[str, datetime] | None = None,
    ) -> Scan:
        finished = self._again(
            lambda: super(PostgreSQLWriter, self).finish_scan(
                scan, incomplete, now, failed=failed, unchanged=unchanged, continued=continued
            )
        )
        self._begun.pop(scan, None)
        return finished

    def _again(self, step: Callable[[], T]) -> T:
        try:
            return step()
        except InventoryError as error:
            if error.kind != "unreachable":
                raise
            return step()
