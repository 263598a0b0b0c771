import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certwatch.engine import batches
from certwatch.engine.collect import CollectorJob, run_scan
from certwatch.inventory.store import InventoryError, Writer
from certwatch.model.observation import Incomplete, LookError, Observation, Scan
from certwatch.plugins.collector import CollectError, CollectorConfig
from certwatch.plugins.testing import FakeClock, make_certificate
from certwatch.telemetry.metrics import HANDSHAKE_SECONDS, OBSERVATIONS, PLUGIN_FAILURES, SCANS
from tests.engine.stage import Stage, stage

pytestmark = pytest.mark.anyio

ISSUED = make_certificate()


@pytest.fixture(autouse=True)
def quick_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_SECONDS", 0.01)


def look(place: str, **more: Any) -> Observation:
    return Observation(location=place, observed_at=FakeClock()(), **{"chain": ISSUED.chain_der, **more})  # type: ignore[arg-type]


class Scripted:
    """A collector that yields, raises, calls functions and waits for events as its script says."""

    Config = CollectorConfig

    def __init__(self, *script: Any) -> None:
        self.script = script
        self.closed = False

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        try:
            for step in self.script:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif callable(step):
                    step()
                else:
                    yield step
        finally:
            self.closed = True


async def run(life: Stage, collector: Any, *, name: str = "edge", **more: Any) -> Scan:
    job = CollectorJob(
        name=name, kind="scripted", build=lambda: collector, every=timedelta(minutes=15), labels={"team": "a"}
    )
    return await run_scan(job, collector, life.writer, life.clock, **more)


async def test_a_complete_scan_records_everything_with_the_configured_labels(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        scan = await run(life, Scripted(look("x://a"), look("x://b", labels={"team": "b"})))
        assert (scan.status, scan.observations, scan.errors) == ("complete", 2, 0)
        assert life.served("x://a").location.labels == {"team": "a"}
        assert life.served("x://b").location.labels == {"team": "b"}


async def test_an_incomplete_part_makes_it_partial(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        missing = Incomplete(
            scope="payments", error=LookError(kind="permission", message="payments: forbidden")
        )
        scan = await run(life, Scripted(look("x://a"), missing))
        assert scan.status == "partial"
        assert scan.error is not None
        assert scan.error.kind == "permission"


async def test_a_collect_error_fails_the_scan_with_its_kind(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        failures = PLUGIN_FAILURES.labels("collectors", "scripted", "CollectError")._value.get()
        scan = await run(life, Scripted(CollectError("permission", "prod: token refused. Renew it")))
        assert scan.status == "failed"
        assert scan.error == LookError(kind="permission", message="prod: token refused. Renew it")
        assert PLUGIN_FAILURES.labels("collectors", "scripted", "CollectError")._value.get() == failures


async def test_an_exception_fails_the_scan_is_counted_and_keeps_what_was_seen(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        before = PLUGIN_FAILURES.labels("collectors", "scripted", "ZeroDivisionError")._value.get()
        scan = await run(life, Scripted(look("x://a"), ZeroDivisionError("oh")))
        assert scan.status == "failed"
        assert scan.error is not None
        assert "ZeroDivisionError" in scan.error.message
        assert life.served("x://a").leaf is not None
        assert (
            PLUGIN_FAILURES.labels("collectors", "scripted", "ZeroDivisionError")._value.get() == before + 1
        )


@pytest.mark.parametrize("said", [None, "x://a", 3])
async def test_what_is_no_observation_fails_the_scan_and_never_ends_it_as_complete(
    tmp_path: Path, said: object
) -> None:
    async with stage(tmp_path) as life:
        scan = await run(life, Scripted(look("x://a"), said, look("x://b")))
        assert scan.status == "failed"


async def test_a_cancelled_scan_fails_and_keeps_what_was_seen(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        seen = asyncio.Event()
        collector = Scripted(*[look(f"x://{n}") for n in range(7)], seen.set, asyncio.Event())
        task = asyncio.create_task(run(life, collector))
        await seen.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert collector.closed
        (scan,) = life.view.last_scans()
        assert (scan.status, scan.observations) == ("failed", 7)
        assert scan.error is not None
        assert scan.error.message.startswith("stopped")


async def test_cancelling_one_that_waits_for_room_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH_SIZE", 2)
    monkeypatch.setattr(batches, "WAITING", 4)
    async with stage(tmp_path) as life:
        # The writer is busy, so that the collector must wait after its fourth look at the latest.
        release, held, begun, go = (asyncio.Event() for _ in range(4))
        loop = asyncio.get_running_loop()

        def hold(writer: Writer) -> None:
            loop.call_soon_threadsafe(held.set)
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

        looks = [look(f"x://{n}") for n in range(9)]
        scan = asyncio.create_task(run(life, Scripted(begun.set, go, *looks)))
        await begun.wait()
        busy = asyncio.create_task(life.writer.call(hold))
        await held.wait()
        go.set()
        for _ in range(50):
            await asyncio.sleep(0)
        scan.cancel()
        release.set()
        await busy
        with pytest.raises(asyncio.CancelledError):
            await scan
        (last,) = life.view.last_scans()
        assert last.status == "failed"
        assert 4 <= last.observations < 9
        life.check()


async def test_batches_are_written_while_the_collector_still_looks(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        wait, changed = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(
            run(life, Scripted(look("x://a"), wait, look("x://b")), changed=changed.set)
        )
        await changed.wait()
        assert life.served("x://a").leaf is not None
        wait.set()
        assert (await task).observations == 2


async def test_outcomes_and_handshakes_are_counted(tmp_path: Path) -> None:
    for metric in (OBSERVATIONS, HANDSHAKE_SECONDS, SCANS):
        metric.clear()
    async with stage(tmp_path) as life:
        refused = LookError(kind="refused", message="x://b: refused")
        script = [
            look("x://a", facts={"handshake_seconds": 0.02}),
            look("x://b", chain=(), error=refused, facts={"handshake_seconds": 9.0}),
        ]
        await run(life, Scripted(*script), name="counted")
        assert OBSERVATIONS.labels("counted", "scripted", "ok")._value.get() == 1
        assert OBSERVATIONS.labels("counted", "scripted", "refused")._value.get() == 1
        assert HANDSHAKE_SECONDS.labels("counted")._sum.get() == 0.02
        assert SCANS.labels("counted", "complete")._value.get() == 1


async def test_a_guess_that_leads_nowhere_is_no_failed_look(tmp_path: Path) -> None:
    """A swept network would otherwise be a service of which nearly every handshake fails."""
    OBSERVATIONS.clear()
    async with stage(tmp_path) as life:
        refused = LookError(kind="refused", message="x://b: refused")
        guess = look("x://b", chain=(), error=refused, guessed=True)
        await run(life, Scripted(look("x://a"), guess), name="counted")
        assert OBSERVATIONS.labels("counted", "scripted", "refused")._value.get() == 0
        await run(life, Scripted(look("x://b")), name="counted")
        await run(life, Scripted(guess), name="counted")
        assert OBSERVATIONS.labels("counted", "scripted", "refused")._value.get() == 1


async def test_an_inventory_that_refuses_ends_the_scan_and_says_so(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        begun, go = asyncio.Event(), asyncio.Event()
        # It would never end by itself: it is stopped at the first look after the refusal.
        endless = Scripted(begun.set, go, *[look(f"x://{n}") for n in range(10_000)], asyncio.Event())
        task = asyncio.create_task(run(life, endless))
        await begun.wait()
        # Another scan of the same collector closes this one behind its back.
        await life.writer.call(lambda writer: writer.begin_scan("edge", life.clock()))
        go.set()
        with pytest.raises(InventoryError, match="failed already"):
            await task
        assert endless.closed


async def test_a_collector_that_does_not_close_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certwatch.engine.listen.CLOSE_SECONDS", 0.01)
    never = asyncio.Event()

    class Clinging:
        """An iterator without a generator's help, whose closing hangs."""

        def __aiter__(self) -> "Clinging":
            return self

        async def __anext__(self) -> Observation:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            await never.wait()

    class Collector(Scripted):
        def collect(self) -> Any:
            return Clinging()

    async with stage(tmp_path) as life:
        assert (await run(life, Collector())).status == "complete"
