import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from certwatch.engine.collect import CollectorJob
from certwatch.engine.schedule import Schedule
from certwatch.inventory.store import InventoryError
from certwatch.model.clock import system_clock
from certwatch.telemetry.metrics import SCAN_SKIPPED

pytestmark = pytest.mark.anyio


def job(
    name: str, *, every: float = 3600, settings: object = None, after: frozenset[str] = frozenset()
) -> CollectorJob:
    def build() -> None:
        raise AssertionError("a schedule makes nothing")

    return CollectorJob(
        name=name,
        kind="x",
        build=build,  # type: ignore[arg-type]
        every=timedelta(seconds=every),
        settings=settings,
        after=after,
    )


@asynccontextmanager
async def scheduled(
    run: Callable[[CollectorJob], Awaitable[object]], *jobs: CollectorJob, retry: float = 15
) -> AsyncIterator[Schedule]:
    # APScheduler reads the system's clock, so that this is the one to plan by.
    schedule = Schedule(run, system_clock, retry=timedelta(seconds=retry))
    schedule.start()
    try:
        await schedule.use(jobs)
        yield schedule
    finally:
        await schedule.stop()


class Runs:
    """Counts runs; each lasts until released."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.changed = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, job: CollectorJob) -> None:
        self.begun.append(job.name)
        self.changed.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.append(job.name)
            raise

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.begun) < count:
                self.changed.clear()
                await self.changed.wait()


async def test_every_collector_runs_at_once() -> None:
    runs = Runs()
    async with scheduled(runs, job("a"), job("b")) as schedule:
        await runs.reach(2)
        assert runs.begun == ["a", "b"]
        assert schedule.running == {"a", "b"}


async def test_it_runs_again_after_its_interval() -> None:
    runs = Runs()
    runs.release.set()
    async with scheduled(runs, job("a", every=0.05)):
        await runs.reach(2)


async def test_a_run_that_comes_too_early_is_left_out_and_counted() -> None:
    runs = Runs()
    async with scheduled(runs, job("a")) as schedule:
        await runs.reach(1)
        before = SCAN_SKIPPED.labels("a")._value.get()
        assert not schedule.trigger("a")
        assert SCAN_SKIPPED.labels("a")._value.get() == before + 1
        runs.release.set()
        await until(lambda: not schedule.running)
        assert schedule.trigger("a")
        assert runs.begun == ["a"]
        await runs.reach(2)


async def test_a_reload_cancels_only_what_changed_or_went() -> None:
    runs = Runs()
    async with scheduled(runs, job("same"), job("other", settings="1"), job("gone")) as schedule:
        await runs.reach(3)
        await schedule.use([job("same"), job("other", settings="2"), job("new")])
        assert sorted(runs.cancelled) == ["gone", "other"]
        await runs.reach(5)
        assert sorted(runs.begun[3:]) == ["new", "other"]
        assert schedule.running == {"same", "other", "new"}


async def test_stopping_cancels_and_waits() -> None:
    runs = Runs()
    async with scheduled(runs, job("a")) as schedule:
        await runs.reach(1)
        await schedule.stop()
        assert runs.cancelled == ["a"]
        assert schedule.running == frozenset()


async def test_a_run_that_the_inventory_refused_is_repeated_soon() -> None:
    count = 0
    enough = asyncio.Event()

    async def refuse(job: CollectorJob) -> None:
        nonlocal count
        count += 1
        if count == 3:
            enough.set()
            return
        raise InventoryError("full", "inventory x: no space left")

    async with scheduled(refuse, job("a"), retry=0.01), asyncio.timeout(5):
        await enough.wait()


async def test_a_run_that_crashes_does_not_end_the_schedule() -> None:
    runs = 0
    again = asyncio.Event()

    async def crash(job: CollectorJob) -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            again.set()
        raise ZeroDivisionError("a bug of ours")

    async with scheduled(crash, job("a", every=0.05)), asyncio.timeout(5):
        await again.wait()


async def test_plans_move_along_when_the_clock_goes_back() -> None:
    runs = Runs()
    runs.release.set()
    async with scheduled(runs, job("a")) as schedule:
        await runs.reach(1)
        # As if the plan had been made by a clock that was an hour and a bit ahead.
        schedule.clock_jumped(-4000)
        await runs.reach(2)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - a run's end tells nobody
            await asyncio.sleep(0.001)


async def test_who_takes_targets_from_others_looks_first_when_they_have_looked() -> None:
    runs = Runs()
    served = job("served", after=frozenset(["prod", "absent"]))
    async with scheduled(runs, served, job("prod"), job("edge")) as schedule:
        await runs.reach(2)
        assert set(runs.begun) == {"prod", "edge"}
        runs.release.set()
        await runs.reach(3)
        assert runs.begun[2] == "served"
        # Another that is new finds them looked.
        await schedule.use([served, job("prod"), job("edge"), job("late", after=frozenset(["prod"]))])
        await runs.reach(4)
        assert runs.begun[3] == "late"


async def test_who_waits_for_one_that_fails_looks_all_the_same() -> None:
    runs = Runs()

    async def fail(job: CollectorJob) -> None:
        runs.begun.append(job.name)
        runs.changed.set()
        if job.name == "prod":
            raise ValueError("no cluster")

    async with scheduled(fail, job("served", after=frozenset(["prod"])), job("prod")):
        await runs.reach(2)
        assert runs.begun == ["prod", "served"]
