"""The reader of an SQLite inventory: read-only, never waits for the writer."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certwatch.inventory.failures import inventory_error, translate
from certwatch.inventory.reading import InventoryReader
from certwatch.inventory.session import Session
from certwatch.inventory.sqlite import SQLiteSession

#: Instructions of SQLite's machine between two looks at the clock: well below a millisecond.
PROGRESS = 20_000


class SQLiteReader(InventoryReader):
    def __init__(self, path: Path, connection: SQLiteSession) -> None:
        super().__init__()
        self._path = path
        self._connection = connection
        # By time.monotonic. None: there is time.
        self._deadline: float | None = None

    def limit_time(self, seconds: float | None) -> None:
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._connection.set_progress_handler(None if seconds is None else self._late, PROGRESS)

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _snapshot(self) -> Iterator[Session]:
        with translate(self._path):
            if self._late():  # what is done between the pages of a call takes time as well
                raise inventory_error(self._path, "too-long")
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            except TypeError as error:
                # What the caller gave was looked at before: a row has nothing where something must be.
                raise LookupError(f"a row is not whole: {error}") from error
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
