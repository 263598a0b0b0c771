"""Writing, to whatever store: each call one transaction over the functions of the modules beside it."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Literal

from certwatch.inventory import clock_faults, lints, retention, scans
from certwatch.inventory.instants import to_micros
from certwatch.inventory.looks import prepare
from certwatch.inventory.record import record, record_since
from certwatch.inventory.session import Session
from certwatch.inventory.settle import require_judgement, settle
from certwatch.inventory.store import Judgement, Pruned, Recorded, Settled
from certwatch.model.lint import Lint
from certwatch.model.observation import Gone, Incomplete, LookError, Observation, Scan, ScanID

#: What one transaction has and the others do without. "durable": on disk when it is over, with all before it.
#: "references": nothing is deleted that something else still names, the transaction fails instead.
Special = Literal["durable", "references"]


class InventoryWriter(ABC):
    """Keeps the promise of `store.Writer` over a store's transactions. Holds nothing in memory between two calls, so that
    a failed call leaves nothing behind: the next one starts from what the database says."""

    @abstractmethod
    def _transaction(self, special: Special | None = None) -> AbstractContextManager[Session]:
        """All or nothing. Raises InventoryError, counted."""

    def _unsure(self, scan: ScanID) -> Sequence[Incomplete]:
        """What the store may have forgotten of a scan that runs. Within the transaction that ends it."""
        return ()

    def _forget_ended(self, connection: Session) -> None:  # noqa: B027 - as a store has it that is not shared
        """What is kept for others to do a scan, of scans that are over. Within the transaction that ended them."""

    def keep_turn(self) -> None:  # noqa: B027 - as a store has it that is not shared
        """Nobody else can have it."""

    def begin_scan(self, collector: str, now: datetime) -> ScanID:
        with self._transaction() as connection:
            instant = clock_faults.told(connection, to_micros(now))
            scan = scans.begin(connection, collector, instant)
            self._forget_ended(connection)
            return scan

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
        with self._transaction("durable") as connection:
            instant = clock_faults.told(connection, to_micros(now))
            return scans.finish(
                connection,
                scan,
                [*incomplete, *self._unsure(scan)],
                instant,
                failed=failed,
                unchanged=unchanged,
                continued={scope: to_micros(since) for scope, since in (continued or {}).items()},
            )

    def abandon_collectors(self, keep: Iterable[str], now: datetime) -> int:
        with self._transaction() as connection:
            instant = clock_faults.told(connection, to_micros(now))
            retired = scans.abandon(connection, keep, instant)
            self._forget_ended(connection)
            return retired

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

    def prune(self, before: datetime, *, findings_before: datetime | None = None) -> Pruned:
        limit = to_micros(before)
        findings_limit = None if findings_before is None else to_micros(findings_before)
        with self._transaction("references") as connection:
            return retention.prune(connection, limit, findings_limit)
