"""A connection to PostgreSQL that takes the SQL of this package.

Parameters are put into the statement by the client: nothing is prepared, so that a connection may come from a pooler
in transaction mode (PgBouncer), and a literal has the type that its place asks for.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import psycopg
from psycopg import ClientCursor, sql

from certwatch.inventory.session import Rows
from certwatch.inventory.text import storable

Connection = psycopg.Connection[tuple[Any, ...]]

#: From how many rows on COPY is faster than INSERT.
_COPY = 20

#: Rows of a stream that are in memory at once.
_FETCH = 5_000

_WORDS = re.compile(r"('(?:[^']|'')*')|\?(\d*)|(?<!:):([a-z_]+)|(%)|(\bINDEXED BY \w+)|(\bCROSS JOIN\b)")


@lru_cache(maxsize=4096)
def translated(statement: str) -> str:
    """SQLite's parameters as psycopg's; without what tells SQLite alone how to go about it."""

    def word(match: re.Match[str]) -> str:
        text, number, name, percent, index, join = match.groups()
        if text is not None:
            return text.replace("%", "%%")
        if name is not None:
            return f"%({name})s"
        if percent is not None:
            return "%%"
        if index is not None:
            return ""
        if join is not None:
            return "JOIN"
        return f"%(p{number})s" if number else "%s"

    return _WORDS.sub(word, statement)


class PostgreSQLSession:
    """Keeps the promise of `session.Session` within a transaction that its owner began."""

    texts = "texts"
    unindexed = ""
    # Each statement waits for the server's turn on the processor, and for the network.
    chunk = 2000

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = (), /) -> Rows:
        cursor = ClientCursor(self._connection)
        cursor.execute(query_of(translated(statement)), _bound(statement, parameters))
        return cast("Rows", cursor)

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]], /) -> object:
        rows = [_bound(statement, row) for row in parameters]
        if rows:
            cursor = ClientCursor(self._connection)
            query = query_of(translated(statement))
            # One message for all of them: a round trip each would cost more than the work.
            text = ";".join([cursor.mogrify(query, row) for row in rows])
            cursor.execute(query_of(text.replace("%", "%%")), ())
        return None

    def insert(self, table: str, rows: Sequence[Sequence[Any]], conflict: str = "") -> None:
        if not rows:
            return
        cursor = ClientCursor(self._connection)
        if conflict or len(rows) < _COPY:
            marks = f"({','.join(['%s'] * len(rows[0]))})"
            query = query_of(f"INSERT INTO {table} VALUES {','.join([marks] * len(rows))} {conflict}")
            cursor.execute(query, [_plain(value) for row in rows for value in row])
            return
        with cursor.copy(query_of(f"COPY {table} FROM STDIN")) as copy:
            for row in rows:
                copy.write_row([_plain(value) for value in row])

    def touch(self, rows: Sequence[tuple[int, bool, int, int | None, int, int]]) -> None:
        if not rows:
            return
        columns = zip(*rows, strict=True)
        ClientCursor(self._connection).execute(
            """
            UPDATE looks k SET scan = v.scan, failed = v.failed, seen = v.seen, served = v.served
            FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
                AS v (scan, failed, seen, served, location, collector)
            WHERE k.location = v.location AND k.collector = v.collector
            """,
            [_array(column) for column in columns],
        )

    def mark_judged(self, rows: Sequence[tuple[int | None, str, int, int]]) -> None:
        if not rows:
            return
        due_at, owner, location, revision = zip(*rows, strict=True)
        ClientCursor(self._connection).execute(
            """
            UPDATE judgements j SET judged = j.revision, due_at = v.due_at, owner = v.owner
            FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::bigint[]) AS v (due_at, owner, location, revision)
            WHERE j.location = v.location AND j.revision = v.revision
            """,
            [_array(due_at), list(owner), _array(location), _array(revision)],
        )

    def next_ids(self, table: str, count: int) -> Sequence[int]:
        return [
            id
            for (id,) in self.execute(
                "SELECT nextval(pg_get_serial_sequence(?, 'id')) FROM generate_series(1, ?)", (table, count)
            )
        ]

    def last_id(self, table: str) -> int:
        (last,) = self.execute(
            f"SELECT max((SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence(?, 'id')), 0)),"
            f" (SELECT coalesce(max(id), 0) FROM {table}))",
            (table,),
        ).fetchone()
        return int(last)

    def set_last_id(self, table: str, last: int) -> None:
        if last:
            self.execute("SELECT setval(pg_get_serial_sequence(?, 'id'), ?)", (table, last))

    def stream(self, statement: str, /) -> Iterator[Sequence[Any]]:
        self.execute(f"DECLARE streamed NO SCROLL CURSOR FOR {statement}")
        while rows := self.execute(f"FETCH {_FETCH} FROM streamed").fetchall():
            yield from rows
        self.execute("CLOSE streamed")

    def scratch(self, table: str, columns: str) -> None:
        self.execute(f"DROP TABLE IF EXISTS pg_temp.{table}")
        self.execute(f"CREATE TEMP TABLE {table} ({columns}) ON COMMIT DROP")

    def damage(self, most: int) -> list[str]:
        # PostgreSQL says so when it reads a damaged page; its references are constraints.
        return []


def query_of(text: str) -> sql.SQL:
    # Made of constants of this package, never of what comes from outside.
    return sql.SQL(text)


def _plain(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value


def _bound(statement: str, parameters: Sequence[Any] | Mapping[str, Any]) -> Sequence[Any] | dict[str, Any]:
    if isinstance(parameters, Mapping):
        return {name: _plain(value) for name, value in parameters.items()}
    if "?1" in statement:
        return {f"p{number}": _plain(value) for number, value in enumerate(parameters, 1)}
    return [_plain(value) for value in parameters]


def _array(values: Iterable[int | None]) -> str:
    return "{" + ",".join(["NULL" if value is None else str(int(value)) for value in values]) + "}"
