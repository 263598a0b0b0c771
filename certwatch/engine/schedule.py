"""When each collector runs: APScheduler is the clock, the runs are ours."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]
from apscheduler.triggers.interval import IntervalTrigger  # type: ignore[import-untyped]

from certwatch.engine.collect import CollectorJob
from certwatch.inventory.store import InventoryError
from certwatch.model.clock import Clock
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import SCAN_SKIPPED

log = get_logger(__name__)

#: Part of the interval by which runs are shifted, so that not all of a fleet look at once; bounded.
JITTER = 0.1
MAX_JITTER = timedelta(minutes=1)
#: Between the first runs of two collectors.
STAGGER = timedelta(seconds=0.25)
#: A collector whose targets are what others see waits for their first look, so long at most.
AFTER = timedelta(minutes=1)
#: After a run that the inventory refused; doubled by each further one, never longer than the interval.
RETRY = timedelta(seconds=15)
#: At the end, for what was seen to be written.
STOP_SECONDS = 3.0


class Schedule:
    """Starts each collector at once (one that takes its targets from others once those have looked), then every interval with jitter, never twice at the same time: a run that comes
    while the one before is still going is left out and counted. Owned by the event loop's thread."""

    def __init__(
        self,
        run: Callable[[CollectorJob], Awaitable[object]],
        clock: Clock,
        *,
        retry: timedelta = RETRY,
    ) -> None:
        self._run = run
        self._clock = clock
        self._retry = retry
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self._jobs: dict[str, CollectorJob] = {}
        self._running: dict[str, asyncio.Task[object]] = {}
        #: Runs in a row that the inventory refused.
        self._refused: dict[str, int] = {}
        #: Those that have looked, and for whom of the others one waits with its first run.
        self._looked: set[str] = set()
        self._waiting: dict[str, set[str]] = {}

    def start(self) -> None:
        self._scheduler.start()

    async def use(self, jobs: Sequence[CollectorJob]) -> None:
        """From now on these. One that is as before keeps its time and its run; another's run is cancelled, and it
        runs at once as it is now."""
        wanted = {job.name: job for job in jobs}
        gone = [
            name
            for name, job in self._jobs.items()
            if name not in wanted or wanted[name].settings != job.settings
        ]
        for name in gone:
            self._scheduler.remove_job(name)
            del self._jobs[name]
            self._refused.pop(name, None)
            self._waiting.pop(name, None)
            self._looked.discard(name)
        await self._cancel(gone)
        first = self._clock()
        for job in jobs:
            if job.name not in self._jobs:
                self._jobs[job.name] = job
                before = set(job.after & wanted.keys()) - self._looked - {job.name}
                if before:
                    self._waiting[job.name] = before
                self._add(job, first + AFTER if before else first)
                first += STAGGER

    def _add(self, job: CollectorJob, first: datetime) -> None:
        seconds = job.every.total_seconds()
        self._scheduler.add_job(
            self._come,
            IntervalTrigger(
                seconds=seconds,
                jitter=min(seconds * JITTER, MAX_JITTER.total_seconds()),
                timezone="UTC",
            ),
            args=(job.name,),
            id=job.name,
            next_run_time=first,
            coalesce=True,
            misfire_grace_time=None,
        )

    async def _come(self, name: str) -> None:
        # A coroutine only because APScheduler runs plain functions in a thread.
        if name in self._jobs:
            self._waiting.pop(name, None)
            self.trigger(name)

    def trigger(self, name: str) -> bool:
        """Run a collector now. False: its last run is still going; counted."""
        if name in self._running:
            SCAN_SKIPPED.labels(name).inc()
            log.warning("scan_skipped", collector=name)
            return False
        task = asyncio.ensure_future(self._run(self._jobs[name]))
        self._running[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))
        return True

    def look_again(self, name: str) -> None:
        """Run a collector now, or when its present run has ended: what it watches has changed. Unknown: nothing."""
        if name not in self._jobs:
            return
        if name in self._running:
            self._running[name].add_done_callback(lambda _: self.look_again(name))
        else:
            self.trigger(name)

    def _ended(self, name: str, task: asyncio.Task[object]) -> None:
        del self._running[name]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, InventoryError):
            self._again_soon(name)
            return
        self._refused.pop(name, None)
        if error is not None:
            log.error("scan_crashed", collector=name, error=repr(error))
        if not task.cancelled():
            self._has_looked(name)

    def _has_looked(self, name: str) -> None:
        self._looked.add(name)
        for other, before in list(self._waiting.items()):
            before.discard(name)
            if not before:
                del self._waiting[other]
                self._scheduler.modify_job(other, next_run_time=self._clock())

    def _again_soon(self, name: str) -> None:
        """Looks are made to be kept: not to wait a whole interval once there is room again."""
        job = self._jobs.get(name)
        planned = self._scheduler.get_job(name) if job is not None else None
        if job is None or planned is None:
            return
        count = self._refused[name] = self._refused.get(name, 0) + 1
        at = self._clock() + min(job.every, self._retry * 2 ** min(count - 1, 16))
        if planned.next_run_time is None or at < planned.next_run_time:
            self._scheduler.modify_job(name, next_run_time=at)

    def clock_jumped(self, seconds: float) -> None:
        """Planned instants are of the former clock. Back: they move along, or nothing would run until the clock has
        caught up. Forward: what is overdue by it runs now."""
        if seconds < 0:
            for name in self._jobs:
                planned = self._scheduler.get_job(name).next_run_time
                self._scheduler.modify_job(name, next_run_time=planned + timedelta(seconds=seconds))
        self._scheduler.wakeup()

    @property
    def running(self) -> frozenset[str]:
        """Collectors at work."""
        return frozenset(self._running)

    def next_run(self, name: str) -> datetime | None:
        """When a collector runs next. None: not planned."""
        planned = self._scheduler.get_job(name) if name in self._jobs else None
        return None if planned is None else planned.next_run_time

    async def _cancel(self, names: Sequence[str]) -> None:
        tasks = [self._running[name] for name in names if name in self._running]
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            if late:
                log.error("scans_not_stopped", count=len(late))

    async def stop(self) -> None:
        """Start nothing more; cancel what runs and wait until what it saw is written. Bounded."""
        self._jobs.clear()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
            # APScheduler shuts down in a callback of the loop.
            await asyncio.sleep(0)
        await self._cancel(list(self._running))
