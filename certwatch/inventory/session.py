"""What the functions of this package need of a database: SQL that both stores understand, and a few words for what
they do in different ways.

The SQL is SQLite's and PostgreSQL's at once: conflicts name their target, columns are qualified where two tables or
`excluded` have them, `coalesce` and `CASE` stand for `ifnull` and `iif`, and a condition is a condition and no number.
Scalar `min` and `max`, `instr`, `hex` and the JSON functions are SQLite's own, and PostgreSQL has them from our schema
(postgresql/schema). Parameters are `?`, `?1` or `:name`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

#: What a column of whole numbers, and a LIMIT, may be.
LARGEST = 2**63 - 1


class Rows(Protocol):
    """What a statement gives."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchmany(self, size: int) -> list[Any]: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Session(Protocol):
    """A connection within a transaction or a snapshot that its owner began. Errors are the database's own."""

    @property
    def texts(self) -> str:
        """The table of `meta`'s entries that are text."""
        ...

    @property
    def unindexed(self) -> str:
        """Written before what is sorted by: the planner shall not take an index for it."""
        ...

    @property
    def chunk(self) -> int:
        """Locations to look up by one statement."""
        ...

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ..., /) -> Rows: ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> object: ...

    def insert(self, table: str, rows: Sequence[Sequence[Any]], conflict: str = "") -> None:
        """Whole rows, many at once. `conflict`: an ON CONFLICT clause."""
        ...

    def update(
        self, table: str, columns: Sequence[str], keys: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Set `columns` where `keys` are so: `rows` have the values of both, in this order. No row of the table twice."""
        ...

    def next_ids(self, table: str, count: int) -> Sequence[int]:
        """Ids for as many new rows, never used before."""
        ...

    def last_id(self, table: str) -> int:
        """The highest that was ever given; 0: none."""
        ...

    def set_last_id(self, table: str, last: int) -> None:
        """Of a table that was filled with ids of its own."""
        ...

    def stream(self, sql: str, /) -> Iterator[Sequence[Any]]:
        """Rows of any number, a few at a time in memory."""
        ...

    def scratch(self, table: str, columns: str) -> None:
        """An empty temporary table, of this transaction."""
        ...

    def damage(self, most: int) -> list[str]:
        """What the database itself finds wrong with what it keeps, some of each kind."""
        ...
