"""Handing in to PostgreSQL itself."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from certwatch.inventory.postgresql.zones import Zones
from certwatch.inventory.shards import Claimed
from certwatch.inventory.store import InventoryError, Recorded
from certwatch.model.observation import Observation
from certwatch.telemetry.logs import get_logger
from certwatch.zones.outcome import Outcome, encode
from certwatch.zones.thread import ZonesThread

log = get_logger(__name__)

#: Between two attempts at a server that cannot be reached; doubled up to the longest.
RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.5, 5.0
#: What the server may get over by itself, or by its administrator.
_PASSING = frozenset({"unreachable", "full", "too-long"})

T = TypeVar("T")


class DatabaseDesk:
    """Keeps the promise of `perform.Desk`. Its owner closes the thread."""

    def __init__(self, zones: ZonesThread) -> None:
        self._zones = zones

    async def record(
        self, given: Claimed, number: int, batch: Sequence[Observation], labels: Mapping[str, str]
    ) -> Recorded | None:
        return await self._again(lambda zones: zones.record(given, number, batch, labels))

    async def finish(self, given: Claimed, outcome: Outcome) -> None:
        text = await asyncio.to_thread(encode, outcome)
        await self._again(partial(_finish, given, text, outcome.kept))

    async def release(self, given: Claimed, *, failed: bool = False) -> None:
        await self._zones.call(lambda zones: zones.release(given.shard, given.claim, failed=failed))

    async def _again(self, step: Callable[[Zones], T]) -> T:
        """Until it is kept: what is said twice is done once."""
        pause = RETRY_SECONDS
        while True:
            try:
                return await self._zones.call(step)
            except InventoryError as error:
                if error.kind not in _PASSING:
                    raise
                log.warning("hand_in_failed", reason=error.kind, error=error.message)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_RETRY_SECONDS)


def _finish(given: Claimed, text: str, batches: int | None, zones: Zones) -> None:
    zones.finish(given, text, batches=batches)
