"""Every happening as one JSON object in Elastic Common Schema fields, to a file, to syslog, or by HTTP `_bulk`."""

import asyncio
import random
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import certwatch
from certwatch.model.finding import Finding
from certwatch.model.location import LocationURI
from certwatch.model.sighting import Served
from certwatch.plugins.exporter import ExporterConfig, ExporterContext, News
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import EVENTS_LOST, NOTIFICATIONS, SPOOL_BYTES
from exporters.events.bulk import BulkSink
from exporters.events.config import EventsConfig
from exporters.events.documents import (
    Document,
    Origin,
    encoded,
    finding_document,
    ledger_document,
    location_document,
    lost_document,
    scan_document,
)
from exporters.events.sinks import FileSink, Sink, SinkError
from exporters.events.spool import Spool
from exporters.events.syslog_sink import syslog_sink

__all__ = ["EventsConfig", "EventsExporter"]

log = get_logger(__name__)

BATCH_EVENTS = 1_000
BATCH_BYTES = 2 << 20
#: Documents made and spooled at once.
SPOOL_EVENTS = 2_000
FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 60.0
LAST_ATTEMPT_SECONDS = 4.5


class EventsExporter:
    """Everything goes through a spool on disk before `publish` returns: what was taken is delivered at least once, in
    order, also after `kill -9`. Only beyond the spool's bound is something dropped: the oldest, counted."""

    Config: ClassVar[type[ExporterConfig]] = EventsConfig

    def __init__(self, name: str, config: ExporterConfig, context: ExporterContext) -> None:
        assert isinstance(config, EventsConfig)  # noqa: S101
        self.config = config
        self._name = name
        self._context = context
        folder = config.spool
        if folder is None and context.state_folder is not None:
            folder = context.state_folder / "spool"
        self._spool = Spool(folder, max_bytes=config.spool_bytes, lost=self._lost)
        self._sink = self._make_sink(config)
        self._origin = Origin(hostname=socket.gethostname(), version=certwatch.__version__)
        # Set by publish, waited for by run; on the event loop.
        self._arrived = asyncio.Event()
        self._stopping = asyncio.Event()
        self._started = False
        self._spooling = True

    def _make_sink(self, config: EventsConfig) -> Sink:
        if config.syslog is not None:
            return syslog_sink(config.syslog)
        if config.bulk is not None:
            return BulkSink(config.bulk, self._lost)
        assert config.path is not None  # noqa: S101  # the config's promise: one of the three
        return FileSink(config.path)

    def _lost(self, reason: str, count: int) -> None:
        EVENTS_LOST.labels(self._name, reason).inc(count)
        log.error("events_lost", exporter=self._name, reason=reason, events=count)

    async def start(self) -> None:
        """Opens the spool; raises SpoolError. Events tell what changes, not what is: called again, something that
        changed was lost, and an event says so."""
        await asyncio.to_thread(self._spool.open)
        self._arrived.set()
        if self._started:
            await asyncio.to_thread(self._take, [lost_document(self._context.clock())])
        self._started = True

    async def publish(self, news: News) -> None:
        await asyncio.to_thread(self._take_all, news)
        self._arrived.set()

    def _take_all(self, news: News) -> None:
        """Blocking. A part at a time: many changes in one go take no more memory than that."""
        part: list[Document] = []
        for document in self._documents(news):
            part.append(document)
            if len(part) == SPOOL_EVENTS:
                self._take(part)
                part = []
        self._take(part)

    def _take(self, documents: list[Document]) -> None:
        error = self._spool.append([encoded(each, self._origin) for each in documents])
        if (error is None) != self._spooling:
            self._spooling = error is None
            if error is not None:
                log.error("events_not_spooled", exporter=self._name, error=str(error))
            else:
                log.info("events_spooled_again", exporter=self._name)
        SPOOL_BYTES.labels(self._name).set(self._spool.waiting_bytes)

    async def run(self) -> None:
        # A run that failed is begun anew.
        self._stopping.clear()
        delivering = asyncio.create_task(self._deliver())
        try:
            await asyncio.shield(delivering)
        except asyncio.CancelledError:
            # What is under way goes on: its answer says what need not be sent again.
            self._stopping.set()
            self._arrived.set()
            await asyncio.wait([delivering], timeout=LAST_ATTEMPT_SECONDS)
            raise
        finally:
            delivering.cancel()
            await asyncio.wait([delivering])
            await self._sink.close()
            self._spool.close()

    async def _deliver(self) -> None:
        """Until everything is delivered and it is to stop."""
        await asyncio.to_thread(self._spool.open)
        failures = 0
        while True:
            batch = await asyncio.to_thread(self._spool.read, most=BATCH_EVENTS, most_bytes=BATCH_BYTES)
            if not batch.records:
                SPOOL_BYTES.labels(self._name).set(self._spool.waiting_bytes)
                if self._stopping.is_set():
                    return
                await self._arrived.wait()
                self._arrived.clear()
                continue
            rest: Sequence[bytes] = batch.records
            while rest:
                try:
                    rest = await self._sink.send(rest)
                except SinkError as error:
                    failures += 1
                    NOTIFICATIONS.labels(self._name, "failed").inc()
                    log.error(
                        "events_not_delivered", exporter=self._name, failures=failures, error=str(error)
                    )
                    if self._stopping.is_set():
                        break
                    await self._pause(failures)
                else:
                    NOTIFICATIONS.labels(self._name, "ok").inc()
                    if failures:
                        log.info("events_delivered_again", exporter=self._name, after=failures)
                    failures = 0
            settled = next(
                (number for number, each in enumerate(batch.records) if rest and each is rest[0]), None
            )
            count = len(batch.records) if settled is None else settled
            with suppress(OSError):  # not written: delivered once more after a restart
                await asyncio.to_thread(self._spool.acknowledge, batch, count)
            SPOOL_BYTES.labels(self._name).set(self._spool.waiting_bytes)
            if rest:
                return

    async def _pause(self, failures: int) -> None:
        """Longer with each failure; ended by the stop, before which there is one more attempt."""
        wait = min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 10))
        with suppress(TimeoutError):
            async with asyncio.timeout(wait * random.uniform(0.5, 1.0)):  # noqa: S311
                await self._stopping.wait()

    def _documents(self, news: News) -> Iterator[Document]:
        now = self._context.clock()
        known: dict[LocationURI, Served | None] = {
            served.location.uri: served for served in (*news.changed, *news.retired)
        }
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
        for entry in news.entries:
            yield ledger_document(entry)

    def _served(self, finding: Finding, known: dict[LocationURI, Served | None]) -> Served | None:
        if finding.location not in known:
            known[finding.location] = self._context.view.served(finding.location)
        return known[finding.location]

    def routes(self) -> Sequence[Any]:
        return ()
