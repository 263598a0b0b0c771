"""A stage for the engine's tests: the real SQLite inventory, the real engine's parts, a clock that is told the time,
and small plug-ins: a collector that sees what it is given, a rule on expiry, an exporter that remembers."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from certwatch.engine.collect import CollectorJob, run_scan
from certwatch.engine.evaluate import Evaluator
from certwatch.engine.judge import ActiveRule, RuleSet
from certwatch.engine.publish import ExporterJob, Publisher
from certwatch.engine.view import StoreView
from certwatch.engine.writer import WriterThread
from certwatch.inventory import open_inventory
from certwatch.inventory.store import Reader, Store
from certwatch.model.finding import Finding, Problem
from certwatch.model.location import LocationURI
from certwatch.model.observation import ErrorKind, Incomplete, LookError, Observation, Scan
from certwatch.model.sighting import Served
from certwatch.plugins.collector import CollectorConfig, CollectorContext
from certwatch.plugins.exporter import ExporterConfig, ExporterContext, News
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from certwatch.plugins.testing import FakeClock, Issued

LEAD = timedelta(hours=48)


class Source:
    """A part of the world: what stands where. Tests change it between scans."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.places: dict[str, tuple[bytes, ...] | LookError] = {}
        #: Said after everything else.
        self.incomplete: list[Incomplete] = []
        #: Raised after everything else.
        self.raises: Exception | None = None
        #: Labels given by the source itself, by place.
        self.labels: dict[str, dict[str, str]] = {}

    def serve(self, place: str, issued: Issued) -> None:
        self.places[place] = issued.chain_der

    def fail(self, place: str, kind: ErrorKind = "timeout") -> None:
        self.places[place] = LookError(kind=kind, message=f"{place}: {kind}. Look at the server")

    def look(self, place: str) -> Observation:
        shown = self.places[place]
        return Observation(
            location=LocationURI(place),
            observed_at=self.clock(),
            chain=shown if isinstance(shown, tuple) else (),
            error=shown if isinstance(shown, LookError) else None,
            labels=self.labels.get(place, {}),
            scope=place.partition("://")[2].partition("/")[0],
        )


class SourceCollector:
    """Sees a `Source`."""

    Config: ClassVar[type[CollectorConfig]] = CollectorConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        self.source: Source | None = None

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        assert self.source is not None
        for place in list(self.source.places):
            yield self.source.look(place)
        for each in self.source.incomplete:
            yield each
        if self.source.raises is not None:
            raise self.source.raises


def source_job(
    source: Source, *, name: str = "edge", every: float = 900, settings: object = None
) -> CollectorJob:
    def build() -> SourceCollector:
        collector = SourceCollector(name, CollectorConfig(), CollectorContext(clock=source.clock))
        collector.source = source
        return collector

    return CollectorJob(
        name=name,
        kind="source",
        build=build,
        every=timedelta(seconds=every),
        labels={"environment": "prod"},
        settings=settings,
    )


def _expiry(served: Served, config: RuleConfig, world: World) -> Iterable[Problem | Until]:
    for certificate in served.chain:
        if certificate.not_after is None:
            continue
        if certificate.not_after - LEAD > world.now:
            yield Until(instant=certificate.not_after - LEAD)
        else:
            yield Problem(
                severity="page",
                fingerprint=certificate.fingerprint_sha256,
                summary=f"{certificate.subject} expires at {certificate.not_after:%Y-%m-%d %H:%M} UTC",
                text="Renew it.",
            )


def make_rule(id: str, evaluate: Any) -> ActiveRule:
    rule = Rule(
        id=id, title=id, why="For tests.", fix="-", severity="page", source="tests", evaluate=evaluate
    )
    return ActiveRule(rule=rule, config=RuleConfig())


EXPIRY = make_rule("expiry", _expiry)


class Remembering:
    """An exporter that keeps what it was told, and can be told to fail."""

    Config: ClassVar[type[ExporterConfig]] = ExporterConfig

    def __init__(self, name: str, config: ExporterConfig, context: ExporterContext) -> None:
        self.view = context.view
        self.news: list[News] = []
        self.starts = 0
        #: Raised by the next calls of that name, one each.
        self.failures: dict[str, list[Exception]] = {}

    def _fail(self, call: str) -> None:
        if waiting := self.failures.get(call):
            raise waiting.pop(0)

    async def start(self) -> None:
        self._fail("start")
        self.starts += 1

    async def publish(self, news: News) -> None:
        self._fail("publish")
        self.news.append(news)

    async def run(self) -> None:
        self._fail("run")

    def routes(self) -> Sequence[Any]:
        self._fail("routes")
        return ()

    @property
    def told(self) -> list[str]:
        """Short, for comparing: "changed tls://a/", "opened expiry tls://a/", …"""
        lines = []
        for news in self.news:
            lines += [f"changed {each.location.uri}" for each in news.changed]
            lines += [f"retired {each.location.uri}" for each in news.retired]
            for what in ("opened", "altered", "resolved"):
                findings: tuple[Finding, ...] = getattr(news, what)
                lines += [f"{what} {each.rule} {each.location}" for each in findings]
            lines += [f"scan {each.collector} {each.status}" for each in news.scans]
            lines += [f"forgotten {each}" for each in news.forgotten]
        return lines


class Stage:
    """One life of a certwatch, step by step. `scan` and `judge` do what the schedule and the evaluation task would."""

    def __init__(self, clock: FakeClock, store: Store, source: Source) -> None:
        self.clock = clock
        self.store = store
        self.writer = WriterThread(store.writer())
        self.view = StoreView(store)
        self.source = source
        self.publisher = Publisher(retry_seconds=0.001)
        self.evaluator = Evaluator(store, self.writer, clock, self.publisher.publish, retry_seconds=0.001)
        self.evaluator.use(RuleSet(rules=(EXPIRY,), digest="first"))
        self.exporter = Remembering("test", ExporterConfig(), ExporterContext(clock=clock, view=self.view))
        self._reader: Reader = store.reader()

    async def scan(self, source: Source | None = None, *, name: str = "edge") -> Scan:
        job = source_job(source or self.source, name=name)
        scan = await run_scan(job, job.build(), self.writer, self.clock)
        self.evaluator.scan_ended(scan)
        return scan

    async def judge(self) -> list[str]:
        """One round; what the exporter was told by it."""
        self.exporter.news.clear()
        await self.evaluator.round()
        await self.publisher.drained()
        return self.exporter.told

    async def scan_and_judge(self) -> list[str]:
        await self.scan()
        return await self.judge()

    def findings(self) -> dict[str, str]:
        """Open ones: summary by "rule location"."""
        return {f"{each.rule} {each.location}": each.summary for each in self._reader.open_findings()}

    def served(self, place: str) -> Served:
        served = self._reader.served(LocationURI(place))
        assert served is not None, f"{place}: never seen"
        return served

    def next_due(self) -> datetime | None:
        return self._reader.next_due()

    def check(self) -> None:
        assert list(self._reader.check()) == []

    async def close(self) -> None:
        self._reader.close()
        await self.publisher.stop()
        await self.evaluator.close()
        self.view.close()
        await self.writer.close()


@asynccontextmanager
async def stage(
    path: Path, clock: FakeClock | None = None, source: Source | None = None
) -> AsyncIterator[Stage]:
    """Opened on the inventory in the folder `path`; a second one on the same is the life after a restart."""
    clock = clock or FakeClock()
    life = Stage(clock, open_inventory(f"sqlite://{path}/inventory.db"), source or Source(clock))
    await life.publisher.use([ExporterJob(name="test", kind="remembering", build=lambda: life.exporter)])
    try:
        yield life
    finally:
        await life.close()
