"""Between two scans: what a collector that follows its source says of changes, recorded as it says it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from certwatch.engine.collect import CollectorJob
from certwatch.engine.writer import WriterThread
from certwatch.inventory.store import InventoryError, Recorded, Writer
from certwatch.model.clock import Clock
from certwatch.model.observation import Gone, Observation
from certwatch.plugins.collector import CollectError, Collector
from certwatch.plugins.guard import PluginFailed, guard
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import OBSERVATIONS

log = get_logger(__name__)

#: Changes that wait to be written; then the collector waits.
WAITING = 2000
#: Of one transaction.
BATCH = 1000
#: How long the first change waits for company.
BATCH_SECONDS = 0.1
#: Between a collector's fault, or a write that failed, and the next attempt.
RETRY_SECONDS = 5.0
#: A collector releases everything within a second of being closed; this is when we go on without.
STOP_SECONDS = 1.5

Change = Observation | Gone


class Followers:
    """One task for each collector that can follow. Owned by the event loop's thread."""

    def __init__(
        self,
        writer: WriterThread,
        clock: Clock,
        changed: Callable[[], None],
        *,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._changed = changed
        self._retry_seconds = retry_seconds
        self._following: dict[str, tuple[Collector, asyncio.Task[None]]] = {}
        # Held while a collector scans: changes that it tells meanwhile are recorded after the scan, of that scan.
        self._locks: dict[str, asyncio.Lock] = {}
        self._stopped = False

    @asynccontextmanager
    async def scanning(self, job: CollectorJob, collector: Collector) -> AsyncIterator[None]:
        """Around a collector's scan. After its first one it is followed, if it can be."""
        lock = self._locks.setdefault(job.name, asyncio.Lock())
        async with lock:
            yield
        if hasattr(collector, "follow") and job.name not in self._following and not self._stopped:
            task = asyncio.create_task(self._keep_following(job, collector, lock))
            self._following[job.name] = (collector, task)

    async def keep(self, collectors: Mapping[str, Collector]) -> None:
        """Follow no others than these; those that are followed already go on."""
        gone = [
            name for name, (collector, _) in self._following.items() if collectors.get(name) is not collector
        ]
        await self._end(gone)
        for name in [name for name in self._locks if name not in collectors]:
            del self._locks[name]

    async def stop(self) -> None:
        """Bounded. What was said and not yet written is written first, or seen by the next scan."""
        self._stopped = True
        await self._end(list(self._following))

    async def _end(self, names: list[str]) -> None:
        tasks = [self._following.pop(name)[1] for name in names]
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=2 * STOP_SECONDS)
            if late:
                log.error("followers_not_stopped", count=len(late))

    async def _keep_following(self, job: CollectorJob, collector: Collector, lock: asyncio.Lock) -> None:
        changes: asyncio.Queue[Change] = asyncio.Queue(WAITING)
        writing = asyncio.create_task(self._write_all(job, changes, lock))
        try:
            while True:
                await self._listen(job, collector, changes)
                await asyncio.sleep(self._retry_seconds)
        finally:
            # A moment for what has been said; what is lost by it, the next scan sees.
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await changes.join()
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing

    async def _listen(self, job: CollectorJob, collector: Any, changes: asyncio.Queue[Change]) -> None:
        stream: Any = None
        try:
            with guard("collectors", job.kind):
                stream = collector.follow()
            while True:
                with guard("collectors", job.kind):
                    try:
                        said = await anext(stream)
                    except StopAsyncIteration:
                        return
                    if not isinstance(said, Observation | Gone):
                        raise TypeError(f"followed with {type(said).__name__}, not Observation or Gone")
                await changes.put(said)
        except CollectError as error:
            log.warning("following_failed", collector=job.name, kind=error.kind, error=error.message)
        except PluginFailed as error:
            log.warning("following_failed", collector=job.name, kind="other", error=str(error))
        finally:
            if stream is not None and hasattr(stream, "aclose"):
                with suppress(PluginFailed, TimeoutError), guard("collectors", job.kind):
                    async with asyncio.timeout(STOP_SECONDS):
                        await stream.aclose()

    async def _write_all(self, job: CollectorJob, changes: asyncio.Queue[Change], lock: asyncio.Lock) -> None:
        kept: Change | None = None
        while True:
            first = kept if kept is not None else await changes.get()
            if kept is None:
                await asyncio.sleep(BATCH_SECONDS)
            batch, kept = _batch(first, changes)
            async with lock:
                recorded = await self._write(job, batch)
            for _ in batch:
                changes.task_done()
            for each in batch:
                if isinstance(each, Observation):
                    outcome = "ok" if each.error is None else each.error.kind
                    OBSERVATIONS.labels(job.name, job.kind, outcome).inc()
            if recorded.changed:
                self._changed()

    async def _write(self, job: CollectorJob, batch: list[Change]) -> Recorded:
        """Until it is written: nothing that was told may be lost."""
        seen = [each for each in batch if isinstance(each, Observation)]
        gone = [each for each in batch if isinstance(each, Gone)]
        while True:
            step = partial(_record, job=job, seen=seen, gone=gone, clock=self._clock)
            try:
                return await self._writer.call(step)
            except InventoryError:
                # Logged by the writer, shown by /-/ready.
                await asyncio.sleep(self._retry_seconds)


def _batch(first: Change, changes: asyncio.Queue[Change]) -> tuple[list[Change], Change | None]:
    """What waits, and the one with which the next batch begins: a place that is seen and gone (or the other way
    round) is told in two, so that the order stays."""
    batch = [first]
    kinds = {first.location: type(first)}
    while len(batch) < BATCH:
        try:
            each = changes.get_nowait()
        except asyncio.QueueEmpty:
            return batch, None
        if kinds.setdefault(each.location, type(each)) is not type(each):
            return batch, each
        batch.append(each)
    return batch, None


def _record(
    writer: Writer, *, job: CollectorJob, seen: list[Observation], gone: list[Gone], clock: Clock
) -> Recorded:
    return writer.record_changes(job.name, seen, job.labels, gone, clock())
