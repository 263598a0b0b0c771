"""The writer of an SQLite inventory: the one that there is."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from certwatch.inventory.failures import translate
from certwatch.inventory.lock import WriterLock
from certwatch.inventory.session import Session
from certwatch.inventory.sqlite import SQLiteSession
from certwatch.inventory.store import InventoryError
from certwatch.inventory.writing import InventoryWriter, Special
from certwatch.telemetry.metrics import INVENTORY_WRITE_FAILURES


class _Switch(NamedTuple):
    """On before the transaction, off after it."""

    before: str
    after: str


_SWITCHES: Mapping[Special, _Switch] = {
    # See sqlite.py.
    "durable": _Switch("PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL"),
    "references": _Switch("PRAGMA foreign_keys = ON", "PRAGMA foreign_keys = OFF"),
}


class SQLiteWriter(InventoryWriter):
    """Holds its connection and its lock."""

    def __init__(self, path: Path, connection: SQLiteSession, lock: WriterLock) -> None:
        self._path = path
        self._connection = connection
        self._lock = lock

    def close(self) -> None:
        """May be called twice. Moves the log into the file if no reader is in its way."""
        self._connection.close()
        self._lock.release()

    @contextmanager
    def _transaction(self, special: Special | None = None) -> Iterator[Session]:
        connection = self._connection
        switch = None if special is None else _SWITCHES[special]
        try:
            with translate(self._path):
                if switch is not None:
                    connection.execute(switch.before)
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    # Some errors (disk full) have rolled back already; where even this fails, the log is not
                    # committed and the next BEGIN says so.
                    if connection.in_transaction:
                        with suppress(sqlite3.Error):
                            connection.execute("ROLLBACK")
                    raise
                finally:
                    if switch is not None:
                        with suppress(sqlite3.Error):
                            connection.execute(switch.after)
        except InventoryError as error:
            INVENTORY_WRITE_FAILURES.labels(error.kind).inc()
            raise
