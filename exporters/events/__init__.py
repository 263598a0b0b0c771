"""Every happening as one line of JSON in Elastic Common Schema fields."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from certwatch.model.finding import Finding
from certwatch.model.sighting import Served
from certwatch.plugins.exporter import ExporterConfig, ExporterContext, News
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import NOTIFICATIONS
from exporters.events.documents import Document, finding_document, location_document, scan_document
from exporters.events.sinks import FileSink, Sink

log = get_logger(__name__)

#: Lines kept while they cannot be written. Beyond it the oldest go, counted and logged.
PENDING_LINES = 100_000
BATCH_LINES = 1_000
RETRY_SECONDS = 5.0
LAST_ATTEMPT_SECONDS = 5.0


class EventsConfig(ExporterConfig):
    #: File that lines are appended to. It may be rotated at any time, by renaming or by truncating.
    path: Path


class EventsExporter:
    """Keeps order. What cannot be written waits, bounded, and is tried again; a crash loses what waited."""

    Config: ClassVar[type[ExporterConfig]] = EventsConfig

    def __init__(self, name: str, config: ExporterConfig, context: ExporterContext) -> None:
        assert isinstance(config, EventsConfig)  # noqa: S101
        self.config = config
        self._name = name
        self._context = context
        self._sink: Sink = FileSink(config.path)
        # Appended to by publish, drained by run; both on the event loop.
        self._pending: deque[bytes] = deque()
        self._arrived = asyncio.Event()

    async def start(self) -> None:
        """Nothing: events tell what changes, and nothing has."""

    async def publish(self, news: News) -> None:
        documents = await asyncio.to_thread(lambda: list(self._documents(news)))
        for document in documents:
            self._pending.append(msgspec.json.encode(document) + b"\n")
        surplus = len(self._pending) - PENDING_LINES
        if surplus > 0:
            for _ in range(surplus):
                self._pending.popleft()
            NOTIFICATIONS.labels(self._name, "dropped").inc(surplus)
            log.error("events_dropped", exporter=self._name, lines=surplus, pending=PENDING_LINES)
        if self._pending:
            self._arrived.set()

    async def run(self) -> None:
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._pending:
                    if not await self._drain():
                        await asyncio.sleep(RETRY_SECONDS)
        finally:
            try:
                async with asyncio.timeout(LAST_ATTEMPT_SECONDS):
                    while self._pending and await self._drain():
                        pass
            except TimeoutError:
                log.error("events_lost", exporter=self._name, lines=len(self._pending))
            self._sink.close()

    async def _drain(self) -> bool:
        """Write one batch: True if anything was taken."""
        batch = [self._pending.popleft() for _ in range(min(BATCH_LINES, len(self._pending)))]
        writing = asyncio.ensure_future(asyncio.to_thread(self._write, batch))
        try:
            taken = await asyncio.shield(writing)
        except asyncio.CancelledError:
            # The thread cannot be stopped: without its answer, lines would be written twice.
            self._give_back(batch[await writing :])
            raise
        self._give_back(batch[taken:])
        NOTIFICATIONS.labels(self._name, "ok" if taken else "failed").inc()
        return taken > 0

    def _write(self, batch: list[bytes]) -> int:
        try:
            return self._sink.write(batch)
        except OSError as error:
            log.error("events_not_written", exporter=self._name, path=str(self.config.path), error=str(error))
            return 0

    def _give_back(self, lines: list[bytes]) -> None:
        self._pending.extendleft(reversed(lines))

    def _documents(self, news: News) -> Iterator[Document]:
        now = self._context.clock()
        known = {served.location.uri: served for served in (*news.changed, *news.retired)}
        for served in news.changed:
            yield location_document("location-changed", served, now)
        for served in news.retired:
            yield location_document("location-retired", served, now)
        for action, findings in (
            ("opened", news.opened),
            ("altered", news.altered),
            ("resolved", news.resolved),
        ):
            for finding in findings:
                yield finding_document(f"finding-{action}", finding, self._served(finding, known), now)
        for scan in news.scans:
            yield scan_document(scan, now)

    def _served(self, finding: Finding, known: dict[Any, Served]) -> Served | None:
        if finding.location not in known:
            served = self._context.view.served(finding.location)
            if served is None:
                return None
            known[finding.location] = served
        return known[finding.location]

    def routes(self) -> Sequence[Any]:
        return ()
