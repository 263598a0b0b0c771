"""The engine's speed: rounds in which nothing changed, judging by all rules, a scan through the whole write path."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial
from typing import ClassVar

from certwatch.config.load import read
from certwatch.engine.assemble import rule_set
from certwatch.engine.collect import CollectorJob, run_scan
from certwatch.engine.evaluate import Evaluator
from certwatch.engine.judge import RuleSet
from certwatch.engine.writer import WriterThread
from certwatch.inventory.store import Judgement, Store, Writer
from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import CollectorConfig, CollectorContext
from certwatch.plugins.exporter import News
from certwatch.plugins.testing import EPOCH, FakeClock
from tests.bench.bench_inventory import LABELS, LARGE, observations, opened, scan
from tests.bench.result import Result
from tests.support.numbered import NumberedCertificates

JUDGED = 20_000
CHANGED = 1_000
SCANNED = 20_000


def forget(news: News) -> None:
    """Nobody is told."""


class Prepared:
    """Yields looks that were made before."""

    Config: ClassVar[type[CollectorConfig]] = CollectorConfig

    def __init__(
        self, name: str, config: CollectorConfig, context: CollectorContext, looks: list[Observation]
    ) -> None:
        self.looks = looks

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        for number, look in enumerate(self.looks):
            yield look
            if number % 100 == 0:
                await asyncio.sleep(0)


def judge_all(writer: Writer, now: datetime) -> None:
    """Locations are numbered from 1; reading them would parse every certificate."""
    for first in range(1, LARGE + 1, 10_000):
        writer.settle(
            [
                Judgement(
                    location_id=id,
                    revision=1,
                    owner="",
                    problems=(),
                    due_at=now + timedelta(days=30, seconds=id),
                )
                for id in range(first, min(first + 10_000, LARGE + 1))
            ],
            now,
        )


async def idle_round(store: Store, writer: Writer, clock: FakeClock) -> float:
    """Seconds of the quickest round, the look-up of the next instant included."""
    thread = WriterThread(writer)
    evaluator = Evaluator(store, thread, clock, forget)
    evaluator.use(RuleSet(digest="bench"))
    evaluator._required = True  # the digest is what it was: nothing becomes due by it
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        judged = await evaluator.round()
        await evaluator._sleep()
        seconds.append(time.perf_counter() - began)
        assert judged == 0
    await evaluator.close()
    await thread.close()
    return min(seconds)


def large() -> Result:
    with opened() as (store, path):
        writer, clock = store.writer(), FakeClock()
        scan(writer, NumberedCertificates(), LARGE, EPOCH)
        clock.advance(hours=1)
        judge_all(writer, clock.now)
        seconds = asyncio.run(idle_round(store, writer, clock))
        size = path.stat().st_size
    return Result(
        what="engine: evaluation round, nothing changed",
        measured=seconds * 1e3,
        unit="ms",
        target=50,
        how=f"{LARGE:,} certificates, {size / 1e6:,.0f} MB; threads and next instant included; best of 20",
    )


async def _longest_pause(until: asyncio.Event) -> float:
    """The longest time for which the event loop did not come back to a task that always wants to run."""
    longest = 0.0
    while not until.is_set():
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - began)
    return longest


async def judging(
    store: Store, writer: Writer, rules: RuleSet, clock: FakeClock
) -> tuple[float, float, float]:
    """CPU seconds for everything, the longest pause of the event loop meanwhile, and seconds of a round after `CHANGED` were
    renewed."""
    thread = WriterThread(writer)
    evaluator = Evaluator(store, thread, clock, forget)
    evaluator.use(rules)
    done = asyncio.Event()
    pause = asyncio.create_task(_longest_pause(done))
    began = time.process_time()
    judged = await evaluator.round()
    seconds = time.process_time() - began
    assert judged == JUDGED, judged
    done.set()
    longest = await pause
    clock.advance(minutes=10)
    renewed = observations(NumberedCertificates(), range(CHANGED), clock.now, shift=JUDGED)

    def renew(writer: Writer) -> None:
        writer.record(writer.begin_scan("edge", clock.now), renewed, LABELS)

    await thread.call(renew)
    clock.advance(minutes=1)  # looks are a microsecond apart
    began = time.perf_counter()
    changed = await evaluator.round()
    again = time.perf_counter() - began
    assert changed >= CHANGED, changed
    await evaluator.close()
    await thread.close()
    return seconds, longest, again


def rules() -> list[Result]:
    active = rule_set(read("trust: {public: system}\n", env={"HOME": "/root"}))
    with opened() as (store, _):
        writer = store.writer()
        scan(writer, NumberedCertificates(), JUDGED, EPOCH)
        clock = FakeClock()
        clock.advance(minutes=10)
        seconds, longest, again = asyncio.run(judging(store, writer, active, clock))
    how = f"{JUDGED:,} new locations, {len(active.rules)} rules, read, judged and settled"
    return [
        Result(
            what="engine: judge by all rules for the first time",
            measured=JUDGED / seconds,
            unit="/s",
            how=f"{how}; CPU of all threads; a million: {seconds / JUDGED * 1e6:,.0f} s of one core",
        ),
        Result(
            what=f"engine: evaluation round, {CHANGED:,} renewed",
            measured=again,
            unit="s",
            target=2,
            how=how,
        ),
        Result(
            what="engine: longest pause of the event loop while judging",
            measured=longest * 1e3,
            unit="ms",
            target=250,
            how=how,
        ),
    ]


async def _scans(writer: Writer, looks: list[list[Observation]], clock: FakeClock) -> float:
    thread = WriterThread(writer)
    seconds = []
    for each in looks:
        prepare = partial(Prepared, "edge", CollectorConfig(), CollectorContext(clock=clock), each)
        job = CollectorJob(
            name="edge",
            kind="prepared",
            build=prepare,
            every=timedelta(hours=1),
        )
        began = time.perf_counter()
        done = await run_scan(job, prepare(), thread, clock)
        seconds.append(time.perf_counter() - began)
        assert (done.status, done.observations) == ("complete", SCANNED)
        clock.advance(hours=1)
    await thread.close()
    return min(seconds[1:])


def scans() -> Result:
    certificates = NumberedCertificates()
    with opened() as (store, _):
        looks = [
            observations(certificates, range(SCANNED), EPOCH + timedelta(hours=hours)) for hours in range(4)
        ]
        seconds = asyncio.run(_scans(store.writer(), looks, FakeClock()))
    return Result(
        what="engine: a scan in which nothing changed, to its end",
        measured=SCANNED / seconds,
        unit="/s",
        how=f"{SCANNED:,} looks of a collector that costs nothing; batches, counting and writing; best of 3",
    )


def run() -> list[Result]:
    return [scans(), *rules(), large()]
