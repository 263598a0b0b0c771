import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certwatch.engine import batches
from certwatch.engine.collect import CollectorJob
from certwatch.engine.engine import Engine, Work
from certwatch.engine.judge import RuleSet
from certwatch.engine.publish import ExporterJob
from certwatch.engine.view import StoreView
from certwatch.inventory import open_inventory
from certwatch.inventory.store import Store
from certwatch.model.finding import Problem
from certwatch.model.location import LocationURI
from certwatch.model.sighting import Served
from certwatch.plugins.exporter import ExporterConfig, ExporterContext
from certwatch.plugins.testing import EPOCH, FakeClock, make_certificate
from certwatch.telemetry.metrics import REGISTRY, SCAN_LAST_COMPLETE
from tests.engine.stage import EXPIRY, Remembering, Source, make_rule, source_job

pytestmark = pytest.mark.anyio

SOON = make_certificate(not_after=EPOCH + timedelta(hours=3))


@pytest.fixture(autouse=True)
def quick_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_SECONDS", 0.01)


class Life:
    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.store: Store = open_inventory(f"sqlite://{folder}/inventory.db")
        self.view = StoreView(self.store)
        self.engine = Engine(self.store, self.store.writer(), self.view, self.clock)
        self.exporter = Remembering(
            "test", ExporterConfig(), ExporterContext(clock=self.clock, view=self.view)
        )
        self.source = Source(self.clock)
        self.source.serve("x://a/", SOON)

    def work(self, *collectors: CollectorJob, **more: Any) -> Work:
        jobs = collectors or (source_job(self.source),)
        exporter = ExporterJob(name="test", kind="remembering", build=lambda: self.exporter)
        values: dict[str, Any] = {
            "collectors": jobs,
            "exporters": (exporter,),
            "rules": RuleSet(rules=(EXPIRY,), digest="1"),
        }
        return Work(**{**values, **more})

    async def told(self, line: str) -> None:
        await until(lambda: line in self.exporter.told)

    def open_findings(self) -> set[str]:
        reader = self.store.reader()
        try:
            return {f"{each.rule} {each.location}" for each in reader.open_findings()}
        finally:
            reader.close()


@asynccontextmanager
async def living(folder: Path) -> AsyncIterator[Life]:
    life = Life(folder)
    try:
        yield life
    finally:
        async with asyncio.timeout(10):
            await life.engine.stop()


def metric_lines(name: str) -> str:
    return "".join(
        str(sample) for family in REGISTRY.collect() for sample in family.samples if sample.name == name
    )


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - the engine's own tasks tell nobody
            await asyncio.sleep(0.001)


async def test_it_looks_judges_and_tells_by_itself(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        assert life.engine.not_ready() == ["the first evaluation has not ended"]
        await life.engine.start(life.work())
        await life.told("opened expiry x://a/")
        await life.told("scan edge complete")
        assert life.engine.not_ready() == []
        assert life.engine.broken() == []
    assert life.engine.not_ready() == ["stopping"]


async def test_stopping_what_never_started_judges_nothing(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        await life.engine.start(life.work())
        await life.told("opened expiry x://a/")
    # The next life finds its port in use, and stops before it was told the rules.
    async with living(tmp_path) as life:
        life.clock.advance(days=1)
    assert life.open_findings() == {"expiry x://a/"}


async def test_a_plugin_that_cannot_be_made_is_shown_and_keeps_what_it_saw(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        await life.engine.start(life.work())
        await life.told("opened expiry x://a/")

        def refuse() -> Any:
            raise ImportError("no module named boto3")

        broken = CollectorJob(name="edge", kind="aws", build=refuse, every=timedelta(hours=1), settings=2)
        other = Source(life.clock)
        other.serve("x://b/", SOON)
        await life.engine.use(life.work(broken, source_job(other, name="other")))
        await life.told("opened expiry x://b/")
        assert life.engine.not_ready() == []
        (shown,) = life.engine.broken()
        assert shown.startswith("collector edge: collector 'aws' failed: ImportError")
    assert life.open_findings() == {"expiry x://a/", "expiry x://b/"}


async def test_what_the_config_names_no_more_is_retired(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        await life.engine.start(life.work())
        await life.told("opened expiry x://a/")
        await life.engine.use(life.work(source_job(Source(life.clock), name="other")))
        await life.told("retired x://a/")
        await life.told("resolved expiry x://a/")


async def test_exporters_hear_of_a_collector_that_is_named_no_more(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        await life.engine.start(life.work())
        await life.told("scan edge complete")
        assert SCAN_LAST_COMPLETE.labels("edge")._value.get() > 0
        await life.engine.use(life.work(source_job(Source(life.clock), name="other")))
        await life.told("forgotten edge")
        told = life.exporter.told
        assert "scan edge complete" not in told[told.index("forgotten edge") :]
        assert "'edge'" not in metric_lines("certwatch_scan_last_complete_timestamp_seconds")


async def test_other_rules_are_taken_without_a_scan(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        await life.engine.start(life.work())
        await life.told("opened expiry x://a/")
        await life.told("scan edge complete")

        def always(served: Served, config: Any, world: Any) -> Iterable[Problem]:
            yield Problem(severity="info", fingerprint=None, summary="always", text="-")

        rules = RuleSet(rules=(make_rule("always", always),), digest="2")
        await life.engine.use(replace(life.work(), rules=rules))
        await life.told("opened always x://a/")
        await life.told("resolved expiry x://a/")
        assert [line for line in life.exporter.told if line.startswith("scan")] == ["scan edge complete"]


async def test_what_ended_long_ago_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certwatch.engine.engine.FIRST_PRUNE_SECONDS", 0.01)
    monkeypatch.setattr("certwatch.engine.engine.PRUNE_SECONDS", 0.01)
    async with living(tmp_path) as life:
        await life.engine.start(life.work())
        await life.told("opened expiry x://a/")
        month = timedelta(days=30)
        gone = life.work(
            source_job(Source(life.clock), name="other"), retention=month, findings_retention=month
        )
        await life.engine.use(gone)
        await life.told("resolved expiry x://a/")
        life.clock.advance(days=31)
        await until(lambda: life.view.served(LocationURI("x://a/")) is None)


async def test_a_jump_of_the_clock_is_judged_by_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certwatch.engine.clock_watch.INTERVAL_SECONDS", 0.01)
    async with living(tmp_path) as life:
        life.source.serve("x://a/", make_certificate(not_after=EPOCH + timedelta(days=30), key_number=7))
        await life.engine.start(life.work())
        await life.told("scan edge complete")
        life.clock.advance(days=29)
        await life.told("opened expiry x://a/")


async def test_what_was_put_in_by_hand_stays_though_no_config_names_it(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        await life.engine.start(life.work(source_job(life.source, name="scan-tls")))
        await life.told("scan scan-tls complete")
        await life.engine.use(life.work(source_job(Source(life.clock), name="edge")))
        await life.told("scan edge complete")
        served = life.view.served(LocationURI("x://a/"))
        assert served is not None
        assert served.retired_at is None
