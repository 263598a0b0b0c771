"""The daemon's side: a zone's scan is divided, put into the queue, watched, and closed when every part is done."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import psycopg_pool
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Status
from procrastinate.types import JSONValue

from certwatch.config.schema import WorkersKeys
from certwatch.engine.collect import SCAN_LIMIT, STOPPED, CollectorJob, tell_scan
from certwatch.engine.writer import WriterThread
from certwatch.inventory.postgresql.zones import FIRST, Zones
from certwatch.inventory.shards import Progress, Ticket, WorkerState, ZoneState
from certwatch.inventory.store import InventoryError
from certwatch.model.clock import Clock
from certwatch.model.observation import LookError, Scan, ScanID
from certwatch.plugins.collector import Collector, Part
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import (
    TARGETS,
    TARGETS_SEEN,
    ZONE_OLDEST_SECONDS,
    ZONE_SHARDS,
    ZONE_SHARDS_ENDED,
    ZONE_SHARDS_TAKEN_OVER,
    ZONE_WORKERS,
)
from certwatch.zones.outcome import Together, together
from certwatch.zones.queue import TASK, bring_up, make_app
from certwatch.zones.spec import spec_of
from certwatch.zones.thread import ZonesThread

log = get_logger(__name__)

#: Of one scan; of more parts than these, each has more looks.
MOST_SHARDS = 1_024
#: Between two looks at how far a scan has come.
POLL_SECONDS = 0.5
#: Whoever hears nothing of the database for so long cannot say that it was the workers who were silent.
GAP_SECONDS = 5.0
#: Of one scan, in the queue or running: for each that workers can do at once, and at least. The others of the zone are
#: queued behind no more of it than these.
PER_SLOT, LEAST = 2, 4
#: Between two looks at queue and workers for the metrics.
WATCH_SECONDS = 5.0
#: A leaf that ends within this makes its scan urgent.
NEAR = timedelta(hours=48)
#: Priorities in the queue: the collector has such a leaf; the part itself has it.
URGENT, MOST_URGENT = 5, FIRST
#: In the queue, who was silent for so many leases is forgotten.
FORGOTTEN_LEASES = 20
#: For the last word on a scan that is cancelled.
LAST_WRITE_SECONDS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """One that collectors name, or that has workers."""

    name: str
    #: None: it has nothing to do.
    state: ZoneState | None
    workers: tuple[WorkerState, ...]


class Dispatcher:
    """Keeps the promise of `engine.ZoneScanner`. Owned by the event loop's thread."""

    def __init__(self, url: str, settings: WorkersKeys, clock: Clock) -> None:
        self._url = url
        self._settings = settings
        self._clock = clock
        self._zones = ZonesThread(url)
        self._app = make_app(url, _never)
        # Guards that everything is opened once.
        self._opening = asyncio.Lock()
        self._opened = False
        self._watching: asyncio.Task[None] | None = None
        #: The process ends: another one goes on with the scans.
        self._leaving = False
        self._named: frozenset[str] = frozenset()
        #: Of each collector in the config.
        self._zone_of: Mapping[str, str | None] = {}
        #: As whom it takes jobs for pushing workers.
        self._fetching: int | None = None

    def use(self, zone_of: Mapping[str, str | None]) -> None:
        zones = frozenset(each for each in zone_of.values() if each is not None)
        self._zone_of = dict(zone_of)
        for gone in self._named - zones:
            _forget(gone)
        self._named = zones
        if zones and self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    def others(self, zone: str) -> frozenset[str]:
        """Collectors of other zones, and those that the daemon runs itself."""
        return frozenset(name for name, its in self._zone_of.items() if its != zone)

    def leave(self) -> None:
        self._leaving = True

    async def close(self) -> None:
        """After `leave`, and when no scan is under way."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        if self._opened:
            with suppress(ConnectorException):
                await self._app.close_async()
        with suppress(InventoryError):
            await self._zones.close()

    async def _open(self) -> None:
        """Raises InventoryError."""
        async with self._opening:
            if not self._opened:
                await asyncio.to_thread(bring_up, self._url)
                try:
                    await self._app.open_async()
                except (ConnectorException, psycopg_pool.PoolTimeout) as error:
                    # A pool that was not filled in time is closed for ever.
                    self._app = make_app(self._url, _never)
                    raise InventoryError("unreachable", f"the queue cannot be reached: {error}") from error
                self._opened = True

    async def scan(
        self, job: CollectorJob, collector: Collector, writer: WriterThread, changed: Callable[[], None]
    ) -> Scan:
        """Have a zone's workers run a collector once, as `engine.collect.run_scan` does here. A scan of the same that another
        daemon began is gone on with."""
        assert job.zone is not None  # noqa: S101
        await self._open()
        began = asyncio.get_running_loop().time()
        scan = await self._begin(job, collector, writer)
        try:
            try:
                async with asyncio.timeout(SCAN_LIMIT.total_seconds()):
                    await self._watch_scan(job, scan, changed)
            except TimeoutError:
                late = LookError(
                    kind="timeout",
                    message=f"{job.name}: the workers of zone {job.zone} did not end it within {SCAN_LIMIT}",
                )
                finished = await self._end(job, scan, writer, Together(failed=late), began)
            else:
                ended = await self._zones.call(lambda zones: zones.ended(scan))
                told = await asyncio.to_thread(together, ended)
                for how, count in told.parts.items():
                    ZONE_SHARDS_ENDED.labels(job.zone, how).inc(count)
                finished = await self._end(job, scan, writer, told, began)
        except asyncio.CancelledError:
            if not self._leaving:
                ending = asyncio.create_task(self._end(job, scan, writer, Together(failed=STOPPED), began))
                await asyncio.wait([ending], timeout=LAST_WRITE_SECONDS)
                if ending.done():
                    ending.exception()
            raise
        changed()
        return finished

    async def _begin(self, job: CollectorJob, collector: Collector, writer: WriterThread) -> ScanID:
        zone, spec = str(job.zone), spec_of(job)
        found = await self._zones.call(lambda zones: zones.unfinished(job.name, zone, spec))
        if found is not None:
            log.info("scan_resumed", collector=job.name, scan=found, zone=zone)
            return found
        count = await asyncio.to_thread(_divided, collector, self._settings.part_looks)
        now = self._clock()
        urgent = await self._zones.call(lambda zones: zones.urgent(job.name, now, now + NEAR))
        scan = await writer.call(lambda it: it.begin_scan(job.name, self._clock()))
        priorities = priorities_of(count, urgent)
        await self._zones.call(lambda zones: zones.open_scan(scan, zone, spec, priorities))
        log.info("scan_divided", collector=job.name, scan=scan, zone=zone, shards=count)
        return scan

    async def _watch_scan(self, job: CollectorJob, scan: ScanID, changed: Callable[[], None]) -> None:
        """Until every shard is done. What PostgreSQL cannot say now it says later."""
        seen = 0
        hearing = Hearing()
        time = asyncio.get_running_loop().time
        while True:
            try:
                progress = await self._zones.call(partial(_advance, scan, lambda: hearing.seconds(time())))
                hearing.heard(time())
                await self._tell_workers(job, progress)
            except (InventoryError, ConnectorException) as error:
                log.warning("zone_not_reached", zone=job.zone, collector=job.name, error=str(error))
            else:
                if progress.taken_over:
                    ZONE_SHARDS_TAKEN_OVER.labels(job.zone).inc(progress.taken_over)
                    log.warning("shards_taken_over", collector=job.name, count=progress.taken_over)
                if progress.changed > seen:
                    seen = progress.changed
                    changed()
                if not progress.waiting and not progress.running:
                    return
            await asyncio.sleep(POLL_SECONDS)

    async def _tell_workers(self, job: CollectorJob, progress: Progress) -> None:
        by_priority: dict[int, list[Ticket]] = defaultdict(list)
        for each in progress.tickets:
            by_priority[each.priority].append(each)
        for priority, tickets in by_priority.items():
            deferring = self._app.configure_task(TASK, queue=str(job.zone), priority=priority)
            arguments: list[dict[str, JSONValue]] = [{"shard": each.shard} for each in tickets]
            ids = await deferring.batch_defer_async(*arguments)
            jobs = {each.shard: id for each, id in zip(tickets, ids, strict=True)}
            await self._zones.call(partial(_told, jobs))

    async def _end(
        self, job: CollectorJob, scan: ScanID, writer: WriterThread, told: Together, began: float
    ) -> Scan:
        finished = await writer.call(
            lambda it: it.finish_scan(
                scan,
                told.incomplete,
                self._clock(),
                failed=told.failed,
                unchanged=frozenset(told.unchanged),
                continued=told.continued,
            )
        )
        with suppress(InventoryError):
            await self._zones.call(lambda zones: zones.close_scan(scan))
        told.counted.tell(job.name, job.kind)
        for source, each in told.targets.items():
            TARGETS.labels(job.name, source).set(each.expected)
            TARGETS_SEEN.labels(job.name, source).set(each.seen)
        tell_scan(finished, asyncio.get_running_loop().time() - began)
        return finished

    async def take(self, zone: str) -> int | None:
        """The next shard in a zone's queue, for a worker that does not reach it. None: there is none now. Raises
        InventoryError."""
        await self._open()
        manager = self._app.job_manager
        try:
            if self._fetching is None:
                self._fetching = await manager.register_worker()
            job = await manager.fetch_job([zone], self._fetching)
            if job is None or job.id is None:
                return None
            await manager.finish_job_by_id_async(job.id, Status.SUCCEEDED, delete_job=True)
        except (ConnectorException, psycopg_pool.PoolTimeout) as error:
            # What it has still in hand is cleared away as of one that fell silent.
            self._fetching = None
            raise InventoryError("unreachable", f"the queue cannot be reached: {error}") from error
        shard = job.task_kwargs["shard"]
        return shard if isinstance(shard, int) else None

    async def zones(self) -> list[Zone]:
        """Those that collectors name, and those that have workers. Raises InventoryError."""
        return await self._zones.call(partial(zones_of, self._named))

    async def _watch(self) -> None:
        """For the metrics; and jobs of workers that fell silent leave the queue."""
        while True:
            try:
                await self._open()
                for zone in await self.zones():
                    _measure(zone)
                await self._clean()
            except (InventoryError, ConnectorException) as error:
                log.warning("zones_not_watched", error=str(error))
            await asyncio.sleep(WATCH_SECONDS)

    async def _clean(self) -> None:
        manager = self._app.job_manager
        if self._fetching is not None:
            await manager.update_heartbeat(self._fetching)
        for job in await manager.get_stalled_jobs(
            task_name=TASK, seconds_since_heartbeat=self._settings.lease.total_seconds()
        ):
            with suppress(ConnectorException):  # it has ended meanwhile
                await manager.finish_job(job, Status.FAILED, delete_job=True)
        await manager.prune_stalled_workers(FORGOTTEN_LEASES * self._settings.lease.total_seconds())
        await self._zones.call(lambda zones: zones.tidy(TASK))


def zones_of(named: frozenset[str], zones: Zones) -> list[Zone]:
    """Those, and all that have something to do or workers. Blocking. Raises InventoryError."""
    states = {each.zone: each for each in zones.zones()}
    workers: dict[str, list[WorkerState]] = defaultdict(list)
    for each in zones.workers():
        workers[each.zone].append(each)
    return [
        Zone(name=name, state=states.get(name), workers=tuple(workers.get(name, ())))
        for name in sorted({*named, *states, *workers})
    ]


def _advance(scan: ScanID, heard_seconds: Callable[[], float], zones: Zones) -> Progress:
    return zones.advance(scan, per_slot=PER_SLOT, least=LEAST, heard_seconds=heard_seconds)


class Hearing:
    """How long the database has answered without a gap, by a clock that this process stands still with. Owned by one scan."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._last = 0.0

    def seconds(self, now: float) -> float:
        return 0.0 if self._since is None or now - self._last > GAP_SECONDS else now - self._since

    def heard(self, now: float) -> None:
        if self._since is None or now - self._last > GAP_SECONDS:
            self._since = now
        self._last = now


async def _never(shard: int) -> None:
    """The queue wants to know what its jobs do. The daemon puts them in, and workers alone take them out."""
    raise AssertionError("a daemon takes no jobs")


def _told(jobs: Mapping[int, int], zones: Zones) -> None:
    zones.told(jobs)


def _divided(collector: Collector, size: int) -> int:
    parts = getattr(collector, "parts", None)
    return 1 if parts is None else max(1, min(int(parts(size)), MOST_SHARDS))


def priorities_of(count: int, urgent: Collection[str]) -> list[int]:
    """Of each part, given the scopes with a near expiry. Those of networks are in several parts: which, nobody knows here."""
    most = {Part.holding(scope, count) for scope in urgent}
    return [MOST_URGENT if index in most else URGENT if urgent else 0 for index in range(count)]


def _measure(zone: Zone) -> None:
    state = zone.state
    ZONE_SHARDS.labels(zone.name, "waiting").set(state.waiting if state is not None else 0)
    ZONE_SHARDS.labels(zone.name, "running").set(state.running if state is not None else 0)
    oldest = state.oldest_seconds if state is not None else None
    ZONE_OLDEST_SECONDS.labels(zone.name).set(oldest or 0)
    ZONE_WORKERS.labels(zone.name).set(sum(each.alive for each in zone.workers))


def _forget(zone: str) -> None:
    for gauge in (ZONE_SHARDS, ZONE_OLDEST_SECONDS, ZONE_WORKERS):
        gauge.remove_by_labels({"zone": zone})
