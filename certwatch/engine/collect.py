"""1 → 2: one run of one collector, from its first look to a finished scan in the inventory."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from certwatch.engine.batches import Batches
from certwatch.engine.counted import Counted
from certwatch.engine.listen import Heard, listen
from certwatch.engine.writer import WriterThread
from certwatch.inventory.store import InventoryError, Recorded, Writer
from certwatch.model.clock import Clock
from certwatch.model.observation import LookError, Observation, Scan, ScanID
from certwatch.plugins.collector import Collector
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import (
    SCAN_LAST_COMPLETE,
    SCAN_SECONDS,
    SCANS,
)

log = get_logger(__name__)

#: No scan takes longer: one that does hangs.
SCAN_LIMIT = timedelta(hours=24)
#: What was seen before a cancellation is written within this, or not at all.
LAST_WRITE_SECONDS = 1.5

STOPPED = LookError(kind="other", message="stopped before it had ended. What it saw is kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorJob:
    """A configured collector."""

    name: str
    kind: str
    #: Makes the plug-in; may raise anything.
    build: Callable[[], Collector]
    every: timedelta
    #: Collectors whose places it takes its targets from.
    after: frozenset[str] = frozenset()
    #: Given to every location it sees; the observation's own win.
    labels: Mapping[str, str] = field(default_factory=dict)
    #: Whose workers run it. None: this process does.
    zone: str | None = None
    #: What they are told of it: the plug-in's keys as they stand in the config.
    written: Mapping[str, Any] = field(default_factory=dict)
    #: Equal for two jobs that do the same: a reload leaves the running one alone.
    settings: object = None


async def run_scan(
    job: CollectorJob,
    collector: Collector,
    writer: WriterThread,
    clock: Clock,
    *,
    changed: Callable[[], None] = lambda: None,
) -> Scan:
    """Run a collector once and record what it sees, as it sees it.

    The scan ends complete, partial, or failed: by `CollectError`, by an exception that the plug-in must not raise
    (counted, logged), by its time limit, or by cancellation, which writes what was seen before it passes on. In
    each case what was seen is kept. `changed` is called when a location has changed.

    Raises InventoryError if it could not be recorded: the collector is then stopped, and the scan stands as failed
    as soon as the inventory can be written again.
    """
    try:
        scan = await writer.call(lambda it: it.begin_scan(job.name, clock()))
    except InventoryError:
        SCANS.labels(job.name, "failed").inc()
        raise
    loop = asyncio.get_running_loop()
    began = loop.time()
    log.info("scan_started", collector=job.name, scan=scan)
    heard, batches = Heard(), Batches()
    recording = asyncio.create_task(_record(job, scan, batches, writer, changed))
    cancelled: asyncio.CancelledError | None = None
    try:
        async with asyncio.timeout(SCAN_LIMIT.total_seconds()):
            await listen(job.name, job.kind, collector, batches, recording, heard)
    except TimeoutError:
        heard.failed = LookError(
            kind="timeout", message=f"{job.name}: not done after {SCAN_LIMIT}. What it saw is kept"
        )
    except asyncio.CancelledError as error:
        heard.failed, cancelled = STOPPED, error
    batches.end()
    # A task of its own: a cancellation that comes now must not lose what has been seen.
    finishing = asyncio.create_task(_finish(job, scan, recording, heard, writer, clock))
    try:
        await asyncio.wait([finishing], timeout=LAST_WRITE_SECONDS if cancelled else None)
    except asyncio.CancelledError as error:
        cancelled = error
        await asyncio.wait([finishing], timeout=LAST_WRITE_SECONDS)
    if not finishing.done():
        log.error("scan_not_finished", collector=job.name, scan=scan)
        recording.cancel()
        finishing.cancel()
    elif (broken := finishing.exception()) is not None:
        SCANS.labels(job.name, "failed").inc()
        log.error("scan_not_recorded", collector=job.name, scan=scan, error=str(broken))
    else:
        tell_scan(finishing.result(), loop.time() - began)
    if cancelled is not None:
        raise cancelled
    finished = finishing.result()
    changed()  # what it retired is due now
    return finished


async def _finish(
    job: CollectorJob,
    scan: ScanID,
    recording: asyncio.Task[None],
    heard: Heard,
    writer: WriterThread,
    clock: Clock,
) -> Scan:
    """Close the scan after all that was seen is written. Raises InventoryError if something was not."""
    try:
        await recording
    except InventoryError as error:
        failed = LookError(kind="other", message=f"{job.name}: not all could be recorded: {error.message}")
        with suppress(InventoryError):
            await writer.call(lambda it: it.finish_scan(scan, (), clock(), failed=failed))
        raise
    return await writer.call(
        lambda it: it.finish_scan(
            scan,
            heard.incomplete,
            clock(),
            failed=heard.failed,
            unchanged=frozenset(heard.unchanged),
            continued=heard.continued,
        )
    )


async def _record(
    job: CollectorJob, scan: ScanID, batches: Batches, writer: WriterThread, changed: Callable[[], None]
) -> None:
    """Write batch by batch until there is no more. Raises InventoryError."""
    try:
        while batch := await batches.take():
            done = await writer.call(partial(_write, scan, batch, job.labels))
            Counted.of(batch, done.nothing_there).tell(job.name, job.kind)
            if done.changed:
                changed()
    finally:
        batches.refuse()


def _write(scan: ScanID, batch: Sequence[Observation], labels: Mapping[str, str], writer: Writer) -> Recorded:
    return writer.record(scan, batch, labels)


def tell_scan(scan: Scan, seconds: float) -> None:
    SCANS.labels(scan.collector, scan.status).inc()
    SCAN_SECONDS.labels(scan.collector).set(seconds)
    if scan.status == "complete" and scan.finished_at is not None:
        SCAN_LAST_COMPLETE.labels(scan.collector).set(scan.finished_at.timestamp())
    log.info(
        "scan_finished",
        collector=scan.collector,
        scan=scan.id,
        status=scan.status,
        observations=scan.observations,
        errors=scan.errors,
        seconds=round(seconds, 3),
        error=scan.error.message if scan.error is not None else "",
    )
