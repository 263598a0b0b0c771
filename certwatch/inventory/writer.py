"""The writer: each call one transaction over the functions of the modules beside it."""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from certwatch.inventory import clock_faults, lints, retention, scans
from certwatch.inventory.failures import translate
from certwatch.inventory.instants import to_micros
from certwatch.inventory.lock import WriterLock
from certwatch.inventory.looks import prepare
from certwatch.inventory.record import record, record_since
from certwatch.inventory.settle import require_judgement, settle
from certwatch.inventory.store import InventoryError, Judgement, Pruned, Recorded, Settled
from certwatch.model.lint import Lint
from certwatch.model.observation import Gone, Incomplete, LookError, Observation, Scan, ScanID
from certwatch.telemetry.metrics import INVENTORY_WRITE_FAILURES


class _Special(NamedTuple):
    """What one transaction has and the others do without, switched on before it and off after it."""

    before: str
    after: str


#: On disk when it is over, with all before it (see sqlite.py).
_DURABLE = _Special("PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL")

#: Nothing is deleted that something else still names: the transaction fails instead.
_REFERENCES = _Special("PRAGMA foreign_keys = ON", "PRAGMA foreign_keys = OFF")


class SQLiteWriter:
    """Keeps the promise of `store.Writer`. Holds nothing in memory between two calls but its connection and its
    lock, so that a failed call leaves nothing behind: the next one starts from what the file says."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: WriterLock) -> None:
        self._path = path
        self._connection = connection
        self._lock = lock

    def begin_scan(self, collector: str, now: datetime) -> ScanID:
        with self._transaction() as connection:
            instant = clock_faults.told(connection, to_micros(now))
            return scans.begin(connection, collector, instant)

    def record(
        self, scan: ScanID, observations: Sequence[Observation], labels: Mapping[str, str] | None = None
    ) -> Recorded:
        # Digests are made before the transaction, so that it is short.
        looks = prepare(observations, labels or {})
        with self._transaction() as connection:
            return record(connection, scan, looks)

    def record_changes(
        self,
        collector: str,
        observations: Sequence[Observation],
        labels: Mapping[str, str],
        gone: Sequence[Gone],
        now: datetime,
    ) -> Recorded:
        looks = prepare(observations, labels)
        with self._transaction() as connection:
            instant = clock_faults.told(connection, to_micros(now))
            recorded = record_since(connection, collector, looks)
            retired = scans.gone(
                connection,
                collector,
                [(each.location, to_micros(each.observed_at)) for each in gone],
                instant,
            )
            return replace(recorded, changed=recorded.changed + retired)

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
        with self._transaction(_DURABLE) as connection:
            instant = clock_faults.told(connection, to_micros(now))
            return scans.finish(
                connection,
                scan,
                incomplete,
                instant,
                failed=failed,
                unchanged=unchanged,
                continued={scope: to_micros(since) for scope, since in (continued or {}).items()},
            )

    def abandon_collectors(self, keep: Iterable[str], now: datetime) -> int:
        with self._transaction() as connection:
            instant = clock_faults.told(connection, to_micros(now))
            return scans.abandon(connection, keep, instant)

    def settle(self, judgements: Sequence[Judgement], now: datetime) -> Settled:
        with self._transaction() as connection:
            instant = clock_faults.told(connection, to_micros(now))
            return settle(connection, judgements, instant)

    def require_judgement(self, digest: str) -> bool:
        with self._transaction() as connection:
            return require_judgement(connection, digest)

    def record_lints(self, found: Sequence[tuple[int, Sequence[Lint]]], *, through: int, linter: str) -> None:
        with self._transaction() as connection:
            lints.record(connection, found, through=through, linter=linter)

    def prune(self, before: datetime) -> Pruned:
        limit = to_micros(before)
        with self._transaction(_REFERENCES) as connection:
            return retention.prune(connection, limit)

    def close(self) -> None:
        """May be called twice. Moves the log into the file if no reader is in its way."""
        self._connection.close()
        self._lock.release()

    @contextmanager
    def _transaction(self, special: _Special | None = None) -> Iterator[sqlite3.Connection]:
        """All or nothing. Raises InventoryError, counted."""
        connection = self._connection
        try:
            with translate(self._path):
                if special is not None:
                    connection.execute(special.before)
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
                    if special is not None:
                        with suppress(sqlite3.Error):
                            connection.execute(special.after)
        except InventoryError as error:
            INVENTORY_WRITE_FAILURES.labels(error.kind).inc()
            raise
