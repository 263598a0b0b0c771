import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from certwatch.engine import publish
from certwatch.engine.publish import ExporterJob, Publisher
from certwatch.model.finding import Finding, FindingID
from certwatch.model.location import LocationURI
from certwatch.model.sli import Sample
from certwatch.plugins.exporter import ExporterConfig, ExporterContext, News
from certwatch.plugins.testing import EPOCH, FakeClock
from certwatch.telemetry.metrics import PLUGIN_FAILURES
from tests.engine.stage import Remembering

pytestmark = pytest.mark.anyio

CONTEXT: Any = ExporterContext(clock=FakeClock(), view=None)  # type: ignore[arg-type]


def news(number: int, count: int = 1) -> News:
    return News(samples=(Sample(name=f"n{number}", value=number, measured_at=EPOCH),) * count)


def numbers(exporter: Remembering) -> list[float]:
    return [each.samples[0].value for each in exporter.news]


def remembering(**failures: list[Exception]) -> Remembering:
    exporter = Remembering("test", ExporterConfig(), CONTEXT)
    exporter.failures = failures
    return exporter


def job(exporter: Any, name: str = "test", settings: object = None) -> ExporterJob:
    return ExporterJob(name=name, kind=name, build=lambda: exporter, settings=settings)


@asynccontextmanager
async def telling(*exporters: Any) -> AsyncIterator[Publisher]:
    publisher = Publisher(retry_seconds=0.001)
    await publisher.use([job(each, f"e{number}") for number, each in enumerate(exporters)])
    try:
        yield publisher
    finally:
        await publisher.stop()


async def test_news_comes_in_order_after_start() -> None:
    exporter = remembering()
    async with telling(exporter) as publisher:
        await publisher.drained()
        for number in range(5):
            publisher.publish(news(number))
        await publisher.drained()
    assert exporter.starts == 1
    assert numbers(exporter) == [0, 1, 2, 3, 4]


async def test_a_slow_exporter_delays_no_other() -> None:
    stuck, quick = remembering(), remembering()
    never = asyncio.Event()

    async def wait(news: News) -> None:
        await never.wait()

    stuck.publish = wait  # type: ignore[method-assign]
    async with telling(stuck, quick) as publisher:
        await until(lambda: not publisher.not_started())
        for number in range(3):
            publisher.publish(news(number))
        await until(lambda: numbers(quick) == [0, 1, 2])


async def test_an_overrun_exporter_starts_anew_from_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "MAX_WAITING", 10)
    exporter = remembering()
    release, entered = asyncio.Event(), asyncio.Event()
    tell = exporter.publish

    async def slow(news: News) -> None:
        entered.set()
        await release.wait()
        await tell(news)

    exporter.publish = slow  # type: ignore[method-assign]
    async with telling(exporter) as publisher:
        await publisher.drained()
        publisher.publish(news(0))
        await entered.wait()
        for number in range(1, 5):
            publisher.publish(news(number, count=4))
        release.set()
        await publisher.drained()
        assert exporter.starts == 2
        publisher.publish(news(9))
        await publisher.drained()
    assert numbers(exporter) == [0, 9]


async def test_who_repeats_what_it_said_takes_the_state_again_when_another_took_over() -> None:
    once, repeating = remembering(), remembering()
    repeating.repeats = True  # type: ignore[attr-defined]
    async with telling(once, repeating) as publisher:
        publisher.publish(news(1))
        await publisher.correct()
        assert [once.starts, repeating.starts] == [1, 2]


@pytest.mark.parametrize("call", ["start", "publish"])
async def test_an_exporter_that_fails_starts_anew_and_is_counted(call: str) -> None:
    exporter = remembering()
    exporter.failures = {call: [OSError("first"), OSError("second")]}
    before = PLUGIN_FAILURES.labels("exporters", "e0", "OSError")._value.get()
    async with telling(exporter) as publisher:
        await publisher.drained()
        publisher.publish(news(0))
        await publisher.drained()
        publisher.publish(news(1))
        await publisher.drained()
        publisher.publish(news(2))
        await publisher.drained()
    assert numbers(exporter)[-1] == 2
    assert exporter.starts == (1 if call == "start" else 3)
    assert PLUGIN_FAILURES.labels("exporters", "e0", "OSError")._value.get() == before + 2


async def test_what_changes_while_it_starts_is_told_after(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = remembering()
    release, entered = asyncio.Event(), asyncio.Event()
    begin = exporter.start

    async def start() -> None:
        entered.set()
        await release.wait()
        await begin()

    exporter.start = start  # type: ignore[method-assign]
    async with telling(exporter) as publisher:
        await entered.wait()
        publisher.publish(news(1))
        assert publisher.not_started() == ["e0"]
        release.set()
        await publisher.drained()
        assert publisher.not_started() == []
    assert numbers(exporter) == [1]


async def test_its_own_life_is_begun_again_when_it_fails() -> None:
    exporter = remembering(run=[OSError("once")])
    lives = 0
    live = exporter.run

    async def run() -> None:
        nonlocal lives
        lives += 1
        await live()

    exporter.run = run  # type: ignore[method-assign]
    async with telling(exporter):
        await until(lambda: lives == 2)


async def test_stopping_tells_what_waits_and_allows_a_last_attempt() -> None:
    exporter = remembering()
    ended: list[list[float]] = []

    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(numbers(exporter))

    exporter.run = run  # type: ignore[method-assign]
    async with telling(exporter) as publisher:
        await until(lambda: not publisher.not_started())
        publisher.publish(news(1))
        publisher.publish(news(2))
    assert ended == [[1, 2]]


async def test_one_that_does_not_stop_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "LAST_ATTEMPT_SECONDS", 0.01)
    exporter = remembering()
    release = asyncio.Event()

    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await release.wait()

    exporter.run = run  # type: ignore[method-assign]
    async with telling(exporter) as publisher:
        await until(lambda: not publisher.not_started())
    release.set()
    await asyncio.sleep(0)


async def test_one_that_cannot_be_made_is_left_out_and_shown() -> None:
    def refuse() -> Any:
        raise ValueError("no")

    publisher = Publisher()
    good = remembering()
    await publisher.use([ExporterJob(name="bad", kind="bad", build=refuse), job(good, "good")])
    await publisher.drained()
    assert good.starts == 1
    assert list(publisher.broken) == ["bad"]
    await publisher.stop()


async def test_a_reload_leaves_alone_what_is_as_before() -> None:
    same, former, present = remembering(), remembering(), remembering()
    publisher = Publisher()
    await publisher.use([job(same, "same", "1"), job(former, "other", "1")])
    await publisher.drained()
    await publisher.use([job(remembering(), "same", "1"), job(present, "other", "2")])
    await publisher.drained()
    publisher.publish(news(1))
    await publisher.drained()
    await publisher.stop()
    assert (same.starts, numbers(same)) == (1, [1])
    assert (numbers(former), numbers(present)) == ([], [1])


async def test_an_exporter_whose_routes_fail_has_none() -> None:
    async with telling(remembering(routes=[TypeError("oh")]), remembering()) as publisher:
        assert publisher.routes() == []


def test_the_weight_of_news_counts_everything_in_it() -> None:
    finding = Finding(
        id=FindingID(1),
        rule="expiry",
        severity="page",
        location=LocationURI("x://a"),
        fingerprint=None,
        summary="",
        text="",
        runbook="",
        owner="",
        opened_at=EPOCH,
        resolved_at=EPOCH + timedelta(hours=1),
    )
    assert publish.weight(News(opened=(finding,), resolved=(finding, finding))) == 3
    assert publish.weight(News()) == 0


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - the publisher's own tasks tell nobody
            await asyncio.sleep(0.001)
