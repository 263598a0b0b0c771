"""All arrows together: what `certwatch run` keeps going."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from certwatch.engine.clock_watch import ClockWatch
from certwatch.engine.collect import CollectorJob, run_scan
from certwatch.engine.evaluate import Evaluator
from certwatch.engine.follow import Followers
from certwatch.engine.judge import RuleSet
from certwatch.engine.lint import Linter
from certwatch.engine.publish import ExporterJob, Publisher
from certwatch.engine.schedule import Schedule
from certwatch.engine.supervise import keep_running
from certwatch.engine.view import StoreView
from certwatch.engine.writer import WriterThread
from certwatch.inventory.store import InventoryError, Pruned, Store, Writer
from certwatch.model.clock import Clock
from certwatch.model.observation import Scan
from certwatch.plugins.collector import Collector
from certwatch.plugins.guard import PluginFailed, guard
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import forget_collector

log = get_logger(__name__)

#: At the end, for judging what the last looks brought.
LAST_ROUND_SECONDS = 0.5
#: Whether the inventory can be written again is tried this often while it cannot.
PROBE_SECONDS = 15.0
#: Between two times of forgetting what ended long ago.
PRUNE_SECONDS = 86_400.0
FIRST_PRUNE_SECONDS = 600.0
_PRUNED = tuple(each.name for each in fields(Pruned))


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What there is to do, made from a config by `certwatch.engine.assemble`."""

    collectors: tuple[CollectorJob, ...] = ()
    exporters: tuple[ExporterJob, ...] = ()
    rules: RuleSet = field(default_factory=RuleSet)
    #: How long what has ended is kept.
    retention: timedelta = timedelta(days=400)
    #: Of resolved findings. None: for ever.
    findings_retention: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorState:
    """A configured collector, as it is now."""

    name: str
    kind: str
    every: timedelta
    running: bool
    #: None: not planned (it could not be made, or it stops).
    next_run: datetime | None
    #: Why it could not be made. Empty: it could.
    broken: str


class ZoneScanner(Protocol):
    """Has others run collectors, who are in the zone that the collector names."""

    async def scan(
        self, job: CollectorJob, collector: Collector, writer: WriterThread, changed: Callable[[], None]
    ) -> Scan:
        """As `collect.run_scan`."""
        ...

    def use(self, zone_of: Mapping[str, str | None]) -> None:
        """From now on: the zone of each collector. None: it has none."""
        ...

    def leave(self) -> None:
        """The engine stops: what is under way may be gone on with by another one."""
        ...


#: The rule that somebody must lint for.
LINT = "lint"
#: Collectors' names under which `certwatch scan --insert` records.
BY_HAND = ("scan-tls", "scan-file")


class Engine:
    """Runs collectors, rules and exporters until stopped. Owned by the event loop's thread.

    Order: `start`, any number of `use` one after the other, `stop`. Owns the writer and closes it.
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        view: StoreView,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
        zones: ZoneScanner | None = None,
    ) -> None:
        """`zones`: for collectors that name one. None: every collector is run here."""
        self._clock = clock
        self._zones = zones
        self._view = view
        self.writer = WriterThread(writer)
        self.publisher = Publisher()
        self.evaluator = Evaluator(store, self.writer, clock, self.publisher.publish)
        self._linter = Linter(store, self.writer, self.evaluator.wake)
        self.schedule = Schedule(self._scan, clock)
        self._followers = Followers(self.writer, clock, self.evaluator.wake)
        self._clock_watch = ClockWatch(clock, monotonic)
        self._collectors: dict[str, tuple[CollectorJob, Collector]] = {}
        self._jobs: tuple[CollectorJob, ...] = ()
        self._named: tuple[str, ...] = ()
        # Collectors that could not be made, by name.
        self._broken: dict[str, str] = {}
        self._crashed: dict[str, str] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._retention, self._findings_retention = Work().retention, Work().findings_retention

    async def start(self, work: Work) -> None:
        self.schedule.start()
        self._tasks = [
            self._keep("evaluation", self.evaluator.run),
            self._keep("clock watch", lambda: self._clock_watch.run(self._clock_jumped)),
            self._keep("write probe", self._probe),
            self._keep("retention", self._forget),
            self._keep("linter", self._linter.run),
        ]
        await self.use(work)

    def _keep(self, name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        def crashed(why: str | None) -> None:
            if why is None:
                self._crashed.pop(name, None)
            else:
                self._crashed[name] = why

        return asyncio.create_task(keep_running(name, run, crashed))

    async def use(self, work: Work) -> None:
        """Do this from now on: what is as before goes on undisturbed. What a collector that is named no more had
        seen is retired."""
        # Exporters first, so that they hear of what the others change.
        await self.publisher.use(work.exporters)
        self.evaluator.use(work.rules)
        if any(each.rule.id == LINT for each in work.rules.rules):
            self._linter.wanted.set()
        else:
            self._linter.wanted.clear()
        self._retention, self._findings_retention = work.retention, work.findings_retention
        former, self._broken = self._collectors, {}
        self._collectors = {}
        for job in work.collectors:
            if job.name in former and former[job.name][0].settings == job.settings:
                self._collectors[job.name] = former[job.name]
                continue
            try:
                with guard("collectors", job.kind):
                    self._collectors[job.name] = job, job.build()
            except PluginFailed as error:
                self._broken[job.name] = str(error)
        # What a zone's workers see is not seen from here.
        here = {job.name: collector for job, collector in self._collectors.values() if job.zone is None}
        await self._followers.keep(here)
        if self._zones is not None:
            self._zones.use({job.name: job.zone for job in work.collectors})
        await self.schedule.use([job for job, _ in self._collectors.values()])
        # Those that could not be made too: what they saw before is not gone.
        gone = [name for name in self._named if name not in {job.name for job in work.collectors}]
        if gone:
            self.evaluator.forget(gone)
            for name in gone:
                forget_collector(name)
        self._jobs = work.collectors
        self._named = tuple(job.name for job in work.collectors)
        await self._abandon()

    async def _abandon(self) -> None:
        """Collectors that are named no more stop watching. Not written: said by the writer, and done by `_probe`."""
        # What people put in by hand (`certwatch scan --insert`) stays: nobody configured it, so nobody took it out.
        keep = [*self._named, *BY_HAND]
        with suppress(InventoryError):
            retired = await self.writer.call(lambda it: it.abandon_collectors(keep, self._clock()))
            if retired:
                log.info("locations_abandoned", retired=retired)
                self.evaluator.wake()

    async def _scan(self, job: CollectorJob) -> None:
        _, collector = self._collectors[job.name]
        if job.zone is not None and self._zones is not None:
            scan = await self._zones.scan(job, collector, self.writer, self.evaluator.wake)
            self.evaluator.scan_ended(scan)
            return
        async with self._followers.scanning(job, collector):
            scan = await run_scan(job, collector, self.writer, self._clock, changed=self.evaluator.wake)
        self.evaluator.scan_ended(scan)

    def _clock_jumped(self, seconds: float) -> None:
        self.schedule.clock_jumped(seconds)
        self.evaluator.wake()

    async def _probe(self) -> None:
        """A disk that was full is found to have room again, though nothing needs writing for hours."""
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            if self.writer.failure is not None:
                await self._abandon()  # writes the time at least

    async def _forget(self) -> None:
        """Once a day, what ended longer ago than it is kept for."""
        wait = FIRST_PRUNE_SECONDS
        while True:
            await asyncio.sleep(wait)
            wait = PRUNE_SECONDS
            now = self._clock()
            before = now - self._retention
            kept = self._findings_retention
            findings_before = None if kept is None else now - kept
            with suppress(InventoryError):
                pruned = await self.writer.call(partial(_prune, before, findings_before))
                log.info("pruned", before=str(before), **{name: getattr(pruned, name) for name in _PRUNED})

    def not_ready(self) -> list[str]:
        """Why it does not do its work fully. Empty: it does."""
        reasons = ["stopping"] if self._stopping else []
        if self.writer.failure is not None:
            reasons.append(self.writer.failure.message)
        if self.evaluator.failure is not None:
            reasons.append(f"evaluation: {self.evaluator.failure}")
        elif not self.evaluator.done_once:
            reasons.append("the first evaluation has not ended")
        reasons += [f"exporter {name} has not started" for name in self.publisher.not_started()]
        reasons += list(self._crashed.values())
        return list(dict.fromkeys(reasons))

    def broken(self) -> list[str]:
        """Plug-ins that could not be made; all others do their work."""
        return [
            *(f"collector {name}: {why}" for name, why in self._broken.items()),
            *(f"exporter {name}: {why}" for name, why in self.publisher.broken.items()),
        ]

    def collectors(self) -> list[CollectorState]:
        """As configured, in that order."""
        return [
            CollectorState(
                name=job.name,
                kind=job.kind,
                every=job.every,
                running=job.name in self.schedule.running,
                next_run=self.schedule.next_run(job.name),
                broken=self._broken.get(job.name, ""),
            )
            for job in self._jobs
        ]

    async def stop(self) -> None:
        """Bounded, about ten seconds at worst: what was seen is recorded and judged, exporters make their last
        attempt, the inventory is closed."""
        self._stopping = True
        if self._zones is not None:
            self._zones.leave()
        await self.schedule.stop()
        await self._followers.stop()
        self.evaluator.stop()
        if self._tasks:
            evaluation, *others = self._tasks
            for task in others:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=LAST_ROUND_SECONDS)
            evaluation.cancel()
        try:
            await self.evaluator.round(LAST_ROUND_SECONDS)
        except InventoryError as error:
            log.error("last_evaluation_failed", error=error.message)
        await self.publisher.stop()
        await self.evaluator.close()
        self._view.close()
        await self.writer.close()
        log.info("engine_stopped")


def _prune(before: datetime, findings_before: datetime | None, writer: Writer) -> Pruned:
    return writer.prune(before, findings_before=findings_before)
