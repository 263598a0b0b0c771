"""3 → 4: what a round changed goes to every exporter, in order, each with a queue of its own."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from certwatch.plugins.exporter import Exporter, News
from certwatch.plugins.guard import PluginFailed, guard
from certwatch.telemetry.logs import get_logger

log = get_logger(__name__)

#: Locations, findings and scans that wait for one exporter; beyond it they are forgotten, and it starts anew
#: from the view.
MAX_WAITING = 20_000
#: An exporter's promises: `publish` returns soon, `start` after one pass over the inventory.
PUBLISH_SECONDS = 60.0
START_SECONDS = 900.0
#: First wait after a failure; doubled by each further one.
RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 60.0
#: At the end: for telling what waits, then for the exporter's own last attempt (its promise: 5 s).
DRAIN_SECONDS = 0.5
LAST_ATTEMPT_SECONDS = 5.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterJob:
    """A configured exporter."""

    name: str
    kind: str
    #: Makes the plug-in; may raise anything.
    build: Callable[[], Exporter]
    #: Equal for two jobs that do the same: a reload leaves the running one alone.
    settings: object = None


def weight(news: News) -> int:
    parts: Sequence[Sequence[object]] = (
        news.changed,
        news.retired,
        news.opened,
        news.altered,
        news.resolved,
        news.scans,
        news.samples,
        news.forgotten,
        news.entries,
    )
    return sum(map(len, parts))


class Telling:
    """One exporter's life: start, then news in order, and its own `run` beside.

    Level-triggered: whenever news is lost to it (it failed, or the queue overflowed), it takes the present state
    from the view again. It delays nobody.
    """

    def __init__(self, job: ExporterJob, exporter: Exporter, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self.job = job
        self.exporter = exporter
        #: True once it has taken the state from the view.
        self.started = False
        self._retry_seconds = retry_seconds
        self._waiting: deque[News] = deque()
        self._weight = 0
        self._stale = True
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._running = asyncio.Event()
        self._tasks = [asyncio.create_task(self._tell()), asyncio.create_task(self._run())]

    def tell(self, news: News) -> None:
        if self._stale:
            return  # `start` will read it
        self._waiting.append(news)
        self._weight += weight(news)
        if self._weight > MAX_WAITING:
            log.warning("exporter_overrun", exporter=self.job.name, waiting=self._weight)
            self._lose()
        self._idle.clear()
        self._arrived.set()

    def renew(self) -> None:
        """It takes the present state from the view again."""
        self._lose()
        self._idle.clear()
        self._arrived.set()

    def _lose(self) -> None:
        self._waiting.clear()
        self._weight = 0
        self._stale = True

    async def _tell(self) -> None:
        loop = asyncio.get_running_loop()
        retry = self._retry_seconds
        while True:
            try:
                if self._stale:
                    began = loop.time()
                    await self._start()
                    # Overrun again and again while much changes: half of the time at most goes into starting.
                    rest = loop.time() - began
                elif self._waiting:
                    await self._publish()
                    rest = 0.0
                else:
                    self._idle.set()
                    self._arrived.clear()
                    await self._arrived.wait()
                    continue
                retry = self._retry_seconds
            except PluginFailed:
                self._lose()
                rest, retry = retry, min(2 * retry, MAX_RETRY_SECONDS)
            if self._stale:
                await asyncio.sleep(rest)

    async def _start(self) -> None:
        # Before reading: what is told from now on may be missed by it, and is published after.
        self._lose()
        self._stale = False
        with guard("exporters", self.job.kind):
            async with asyncio.timeout(START_SECONDS):
                await self.exporter.start()
        if not self.started:
            log.info("exporter_started", exporter=self.job.name)
        self.started = True
        self._running.set()

    async def _publish(self) -> None:
        news = self._waiting.popleft()
        self._weight -= weight(news)
        with guard("exporters", self.job.kind):
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self.exporter.publish(news)

    async def _run(self) -> None:
        """Its own life, begun again if it fails."""
        await self._running.wait()
        retry = self._retry_seconds
        while True:
            try:
                with guard("exporters", self.job.kind):
                    await self.exporter.run()
                return
            except PluginFailed:
                await asyncio.sleep(retry)
                retry = min(2 * retry, MAX_RETRY_SECONDS)

    async def begun(self) -> None:
        """Waits until it has taken the state from the view."""
        await self._running.wait()

    async def drained(self) -> None:
        """Waits until everything so far is told."""
        await self._idle.wait()

    async def stop(self) -> None:
        """Tell what waits, let it make its last attempt. Bounded; cancels and forgets what takes longer."""
        telling, running = self._tasks
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self.drained()
        telling.cancel()
        running.cancel()
        _, late = await asyncio.wait(self._tasks, timeout=LAST_ATTEMPT_SECONDS)
        if late:
            log.error("exporter_not_stopped", exporter=self.job.name)


class Publisher:
    """All exporters, in the configured order."""

    def __init__(self, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self._retry_seconds = retry_seconds
        self._tellings: dict[str, Telling] = {}
        #: Exporters that could not be made, by name.
        self.broken: dict[str, str] = {}

    def publish(self, news: News) -> None:
        """Never waits."""
        for telling in self._tellings.values():
            telling.tell(news)

    async def use(self, jobs: Sequence[ExporterJob]) -> None:
        """From now on these. Those that are as before go on; others are stopped, or made and started. An exporter
        that cannot be made is left out, logged and counted; the others do their work."""
        former, self._tellings, self.broken = self._tellings, {}, {}
        kept = {
            job.name: former[job.name]
            for job in jobs
            if job.name in former and former[job.name].job.settings == job.settings
        }
        # The old ones first: two must not hold one file or port.
        await _stop_all([each for name, each in former.items() if name not in kept])
        for job in jobs:
            if job.name in kept:
                self._tellings[job.name] = kept[job.name]
                continue
            try:
                with guard("exporters", job.kind):
                    exporter = job.build()
            except PluginFailed as error:
                self.broken[job.name] = str(error)
                continue
            self._tellings[job.name] = Telling(job, exporter, retry_seconds=self._retry_seconds)

    def not_started(self) -> list[str]:
        return [name for name, telling in self._tellings.items() if not telling.started]

    def routes(self) -> list[tuple[str, Any]]:
        """What the exporters answer over HTTP, each with the exporter's kind."""
        routes: list[tuple[str, Any]] = []
        for telling in self._tellings.values():
            kind = telling.job.kind
            with suppress(PluginFailed), guard("exporters", kind):
                routes += [(kind, route) for route in telling.exporter.routes()]
        return routes

    def renew(self) -> None:
        """All take the present state from the view again: news does not reach this process."""
        for telling in self._tellings.values():
            telling.renew()

    async def correct(self) -> None:
        """Another process works on the inventory now: those who repeat what they said take the present state before their last
        word. What this process has found is told before."""
        await self.drained()
        for telling in self._tellings.values():
            if getattr(telling.exporter, "repeats", False):
                telling.renew()
        await self.drained()

    async def begun(self) -> None:
        """Waits until every exporter has taken the state from the view."""
        for telling in self._tellings.values():
            await telling.begun()

    async def drained(self) -> None:
        """Waits until every exporter has been told everything so far."""
        for telling in self._tellings.values():
            await telling.drained()

    async def stop(self) -> None:
        """Bounded: all exporters at once."""
        await _stop_all(list(self._tellings.values()))
        self._tellings = {}


async def _stop_all(tellings: Sequence[Telling]) -> None:
    async with asyncio.TaskGroup() as group:
        for telling in tellings:
            group.create_task(telling.stop())
