"""A CA's database behind SQL as a source: connect, see whether there is anything new, read."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from collectors.ca_database.record import NO_FACTS, Outcome, Pending, Record
from collectors.ca_database.sql.database import Database

#: Read once more before a mark in time: what was written by a transaction that was committed later.
OVERLAP = timedelta(minutes=5)
#: The same for numbers that grow by one.
OVERLAP_ROWS = 500


class Tables(Protocol):
    """One CA's tables, on an open database. Its methods raise ReadFailed."""

    def is_new(self, mark: str) -> bool:
        """Whether there is anything new since `mark`. Raises WentBack."""
        ...

    def can_go_on(self, mark: str) -> bool:
        """Whether what is new can be told apart; else all is read."""
        ...

    def records(self, mark: str) -> Iterator[Record]:
        """With an empty mark all of them."""
        ...

    def mark(self) -> str: ...

    def pending(self) -> Pending | None: ...


class OpenTables(Protocol):
    def __call__(self, database: Database, oldest: datetime) -> Tables:
        """`oldest`: what ended before it may be left out."""
        ...


class SQLSource:
    authorities: tuple[bytes, ...] = ()
    facts = NO_FACTS

    def __init__(
        self, url: str, tables: OpenTables, *, several: bool, timeout: timedelta, oldest: datetime
    ) -> None:
        self.several = several
        self._url = url
        self._tables = tables
        self._timeout = timeout
        self._oldest = oldest

    def open(self, mark: str) -> "SQLReading | None":
        database = Database(self._url, self._timeout)
        try:
            tables = self._tables(database, self._oldest)
            if mark and not tables.is_new(mark):
                database.close()
                return None
            return SQLReading(database, tables, mark if mark and tables.can_go_on(mark) else "")
        except BaseException:
            database.close()
            raise


class SQLReading:
    def __init__(self, database: Database, tables: Tables, since: str) -> None:
        self.whole = not since
        self._database = database
        self._tables = tables
        self._since = since

    def records(self) -> Iterator[Record]:
        return self._tables.records(self._since)

    def mark(self) -> str:
        return self._tables.mark()

    def pending(self) -> Pending | None:
        return self._tables.pending()

    def outcomes(self) -> Sequence[Outcome]:
        return ()

    def close(self) -> None:
        self._database.close()
