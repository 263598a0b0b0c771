"""The door to a database: one connection, one transaction that only reads, limits on every statement."""

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from certwatch.model.observation import ErrorKind
from certwatch.model.shown import shown
from collectors.ca_database.record import ReadFailed

#: Rows of one page, and of what a server sends ahead.
PAGE = 2000
CONNECT_SECONDS = 10
#: Beyond the limit that the server is given, until it counts as stopped.
GRACE_SECONDS = 10.0
#: Milliseconds: PostgreSQL takes no more.
_LONGEST_LIMIT = 2**31 - 1
#: SQLite's steps between two looks at the clock.
_STEPS = 100_000

#: The driver of each kind of database.
_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "sqlite": "sqlite",
}
#: By SQLSTATE's class or whole (PostgreSQL), and by number (MySQL, MariaDB).
_KINDS: Mapping[str, ErrorKind] = {
    "28": "permission",
    "42501": "permission",
    "3D": "not-found",
    "42P01": "not-found",
    "57014": "timeout",
    "08": "reset",
    "57P": "reset",
    "1044": "permission",
    "1045": "permission",
    "1142": "permission",
    "1143": "permission",
    "1049": "not-found",
    "1146": "not-found",
    "1317": "timeout",
    "1969": "timeout",
    "3024": "timeout",
    "2006": "reset",
    "2013": "reset",
}
_HELP: Mapping[ErrorKind, str] = {
    "permission": "Grant SELECT to that user, and see its password",
    "not-found": "See the names in `url`, and that it is the CA's database",
    "timeout": "Raise `timeout`, or help the statement with an index",
    "reset": "See the server's log; the next round reads on",
    "refused": "See that the server runs and listens there",
    "dns": "See the host in `url`",
}


@dataclass(frozen=True, slots=True)
class Table:
    source: sa.TableClause
    #: By name in lower case.
    c: Mapping[str, sa.ColumnClause[Any]]

    def columns(self) -> list[sa.Label[Any]]:
        """To select all of them, so that rows have them by name in lower case."""
        return [column.label(name) for name, column in self.c.items()]


class Database:
    """Owned by one reading; used by one thread at a time. Its methods raise ReadFailed."""

    def __init__(self, url: str, timeout: timedelta) -> None:
        """Connects. `url` may hold a password: no message does."""
        try:
            parsed = sa.make_url(url)
        except (ArgumentError, ValueError):
            raise ReadFailed(
                "other", "url: not a database's URL. Write it as postgresql://user@host/name"
            ) from None
        if not url.isprintable() or "@" in f"{parsed.host or ''}{parsed.database or ''}".replace("%40", ""):
            # What stands behind the first @ of a password would be told as the host.
            raise ReadFailed(
                "other",
                "url: a password has characters that a URL gives a meaning to. Write @ as %40, % as %25, / as %2F",
            )
        if parsed.get_backend_name() not in _DRIVERS:
            raise ReadFailed(
                "other",
                f"url: {shown(parsed.drivername[:40])} is not known. It reads postgresql, mysql, mariadb, sqlite",
            )
        self.where = f"{parsed.host or ''}{f':{parsed.port}' if parsed.port else ''}/{parsed.database or ''}"
        self._timeout = timeout.total_seconds()
        self._deadline = 0.0
        self._streaming = False
        self._hung = False
        if "+" not in parsed.drivername:
            parsed = parsed.set(drivername=_DRIVERS[parsed.drivername])
        with self._translated():
            try:
                self._engine = self._made(parsed)
                self._connection = self._engine.connect()
            except UnicodeError:
                raise
            except (TypeError, ValueError, AttributeError, LookupError) as error:
                # So drivers answer an option that they do not know; its value may be secret.
                raise ReadFailed(
                    "other",
                    f"{self.where}: its driver does not take what stands behind ? in `url`. See the driver's options",
                ) from error
        try:
            self._restrict()
        except ReadFailed:
            self.close()
            raise
        self.dialect = self._engine.dialect.name
        self._names: dict[str, str] | None = None

    def _made(self, url: sa.URL) -> sa.Engine:
        if url.get_backend_name() == "sqlite":

            def connect() -> sqlite3.Connection:
                path = quote(url.database or "")
                made = sqlite3.connect(
                    f"file:{path}?mode=ro", uri=True, timeout=CONNECT_SECONDS, check_same_thread=False
                )
                made.set_progress_handler(lambda: int(time.monotonic() > self._deadline), _STEPS)
                return made

            self._deadline = time.monotonic() + self._timeout
            return sa.create_engine("sqlite://", creator=connect, poolclass=NullPool)
        arguments: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS}
        if url.get_backend_name() in ("mysql", "mariadb"):
            # The server's own limit comes first; this one is for a server that is gone.
            arguments["read_timeout"] = int(self._timeout + GRACE_SECONDS)
        return sa.create_engine(
            url,
            poolclass=NullPool,
            isolation_level="REPEATABLE READ",
            connect_args=arguments,
            hide_parameters=True,
        )

    def _restrict(self) -> None:
        """Read only, with limits, by UTC. The account should not be able to write anyway."""
        name, milliseconds = self._engine.dialect.name, min(int(self._timeout * 1000), _LONGEST_LIMIT)
        if name == "postgresql":
            self._run(
                "SET TRANSACTION READ ONLY",
                f"SET LOCAL statement_timeout = {milliseconds}",
                f"SET LOCAL lock_timeout = {milliseconds}",
                "SET LOCAL TIME ZONE 'UTC'",
            )
        elif name == "sqlite":
            self._run("PRAGMA query_only = ON")
        else:
            limit = (
                f"max_statement_time = {self._timeout:.3f}"
                if getattr(self._engine.dialect, "is_mariadb", False)
                else f"max_execution_time = {milliseconds}"
            )
            self._run(
                f"SET SESSION {limit}",
                "SET SESSION time_zone = '+00:00'",
                "SET SESSION TRANSACTION READ ONLY",
            )
            with self._translated():
                # The transaction that SET has begun was not of that kind yet.
                self._connection.rollback()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """The server's own limit comes first; this one is for a server that has stopped, which libpq waits for as long as
        its kernel answers. PyMySQL and SQLite have limits of their own."""
        if self._engine.dialect.name != "postgresql":
            yield
            return
        descriptor = self._connection.connection.driver_connection.pgconn.socket  # type: ignore[union-attr]
        timer = threading.Timer(self._timeout + GRACE_SECONDS, self._hang_up, (descriptor,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _hang_up(self, descriptor: int) -> None:
        """In a thread of its own. What waits for an answer hears that the connection has ended."""
        self._hung = True
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as twin:
            twin.shutdown(socket.SHUT_RDWR)

    def _run(self, *statements: str) -> None:
        with self._translated(), self._watched():
            for each in statements:
                self._connection.execute(sa.text(each))

    def rows(
        self, statement: sa.Executable, values: Mapping[str, object] | None = None
    ) -> list[sa.RowMapping]:
        """All rows: for what is limited to a page."""
        with self._translated(), self._watched():
            self._deadline = time.monotonic() + self._timeout
            return list(self._connection.execute(statement, dict(values or {})).mappings().all())

    def stream(
        self, statement: sa.Executable, values: Mapping[str, object] | None = None
    ) -> Iterator[sa.RowMapping]:
        """Rows as they come, by a cursor of the server."""
        with self._translated():
            self._deadline = time.monotonic() + self._timeout
            self._streaming = True
            with self._watched():
                result = self._connection.execution_options(stream_results=True, yield_per=PAGE).execute(
                    statement, dict(values or {})
                )
            # `result` lets go of it when it fails, and then nobody could.
            cursor = result.cursor
            try:
                parts = result.mappings().partitions()
                while True:
                    with self._watched():
                        part = next(parts, None)
                    if part is None:
                        break
                    yield from part
                    self._deadline = time.monotonic() + self._timeout
                self._streaming = False
            finally:
                if self._streaming:
                    self._give_up(cursor)

    def _give_up(self, cursor: Any) -> None:
        """PyMySQL reads what is left of a result before it lets go of it: a million rows, or from a connection that is
        gone. psycopg complains of a cursor that nobody closed."""
        result: Any = getattr(cursor, "_result", None)
        if result is not None and getattr(result, "unbuffered_active", False):
            result.unbuffered_active = False
        with suppress(self._engine.dialect.loaded_dbapi.Error):
            cursor.close()

    def table(self, name: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> "Table":
        """The table with these columns, as far as it has them: PostgreSQL has folded their names, MariaDB has not. The
        message names what is missing."""
        with self._translated():
            looked = sa.inspect(self._connection)
            if self._names is None:
                self._names = {
                    each.lower(): each for each in (*looked.get_table_names(), *looked.get_view_names())
                }
            actual = self._names.get(name.lower())
            if actual is None:
                raise ReadFailed(
                    "not-found", f"{self.where}: has no table {name}. See the names in `url`, and the grants"
                )
            columns = {each["name"].lower(): each["name"] for each in looked.get_columns(actual)}
        for each in required:
            if each.lower() not in columns:
                raise ReadFailed(
                    "malformed",
                    f"{self.where}: table {actual} has no column {each}: its schema is of a version that is not known. "
                    "Read it by preset sql with a query of your own",
                )
        wanted = [each.lower() for each in (*required, *optional) if each.lower() in columns]
        made = sa.table(actual, *[sa.column(columns[each]) for each in wanted])
        return Table(made, {each: made.c[columns[each]] for each in wanted})

    def has_table(self, name: str) -> bool:
        try:
            self.table(name, ())
        except ReadFailed as failed:
            if failed.kind == "not-found":
                return False
            raise
        return True

    def close(self) -> None:
        try:
            if self._streaming:
                # Rows that were not taken would be read to the end.
                self._connection.invalidate()
            self._connection.close()
        except SQLAlchemyError:
            pass  # it is gone, which was wanted
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._failed(error) from error
        except (NoSuchModuleError, ModuleNotFoundError) as error:
            raise ReadFailed(
                "other",
                f'{self.where}: its driver is not installed. Install it with: pip install "certwatch[sql]"',
            ) from error
        except (SQLAlchemyError, sqlite3.Error, OSError, ValueError, UnicodeError) as error:
            raise ReadFailed("other", f"{self.where}: {_short(error)}. See `url` and `query`") from error

    def _failed(self, error: DBAPIError) -> ReadFailed:
        original = error.orig
        number = original.args[0] if original is not None and original.args else None
        code = str(number if isinstance(number, int) else getattr(original, "sqlstate", None) or "")
        text = _short(original if original is not None else error)
        if self._hung:
            seconds = self._timeout + GRACE_SECONDS
            return ReadFailed(
                "timeout",
                f"{self.where}: no answer within {seconds:g} s. See that the server works, and its log",
            )
        kind: ErrorKind = "other"
        for length in (5, 4, 3, 2):
            if code[:length] in _KINDS and (len(code) == 5 or length == 4):
                kind = _KINDS[code[:length]]
                break
        else:
            kind = _by_text(text.lower())
        return ReadFailed(kind, f"{self.where}: {text}. {_HELP.get(kind, 'See `url` and the server')}")


def _by_text(text: str) -> ErrorKind:
    """Of failures before there is a connection the drivers say words only."""
    for part, kind in (
        ("interrupted", "timeout"),
        ("unable to open database", "not-found"),
        ("password authentication", "permission"),
        ("no pg_hba.conf", "permission"),
        ("does not exist", "not-found"),
        ("could not translate host", "dns"),
        ("name or service not known", "dns"),
        ("failed to resolve", "dns"),
        ("refused", "refused"),
        ("timeout", "timeout"),
        ("timed out", "timeout"),
        ("closed the connection", "reset"),
        ("connection is lost", "reset"),
        ("lost connection", "reset"),
        ("terminating connection", "reset"),
    ):
        if part in text:
            return kind  # type: ignore[return-value] # the table has only such
    return "other"


def _short(error: BaseException) -> str:
    """One line."""
    text = str(error.args[-1]) if error.args else type(error).__name__
    return shown(" ".join(text.split())[:300]).rstrip(".")
