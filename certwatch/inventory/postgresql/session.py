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

#: Of the columns of tables that were written.
_TYPES: dict[str, Mapping[str, str]] = {}
_NUMBERS = ("bigint", "integer", "smallint")

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

    def update(
        self, table: str, columns: Sequence[str], keys: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        if not rows:
            return
        names = [*columns, *keys]
        types = self._types(table)
        # One statement, planned once: many short ones cost the server five times as much.
        ClientCursor(self._connection).execute(
            query_of(
                f"UPDATE {table} t SET {', '.join(f'{each} = v.{each}' for each in columns)}"
                f" FROM unnest({', '.join(f'%s::{types[each]}[]' for each in names)}) AS v ({', '.join(names)})"
                f" WHERE {' AND '.join(f't.{each} = v.{each}' for each in keys)}"
            ),
            [
                _array(column) if types[name] in _NUMBERS else [_plain(value) for value in column]
                for name, column in zip(names, zip(*rows, strict=True), strict=True)
            ],
        )

    def _types(self, table: str) -> Mapping[str, str]:
        """Of the columns. They are the same in every inventory of this version."""
        if table not in _TYPES:
            _TYPES[table] = dict(
                self.execute(
                    "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute"
                    " WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped",
                    (table,),
                )
            )
        return _TYPES[table]

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
