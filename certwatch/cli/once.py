"""Collectors run once: their looks into the inventory, and judged there."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

from certwatch.cli.progress import Told
from certwatch.config.settings import CollectorSettings, Config
from certwatch.engine.assemble import collector_folder, collector_job, rule_set
from certwatch.engine.collect import CollectorJob, run_scan
from certwatch.engine.evaluate import Evaluator
from certwatch.engine.writer import WriterThread
from certwatch.inventory.open import open_inventory
from certwatch.inventory.store import Store
from certwatch.model.clock import Clock
from certwatch.model.observation import Incomplete, LookError, Observation, Scan
from certwatch.plugins.collector import Collector, CollectorContext
from certwatch.plugins.guard import guard
from certwatch.plugins.view import InventoryView

#: Why an ad-hoc scan is never complete: what it was not told to look at is not gone.
AD_HOC = Incomplete(
    scope="", error=LookError(kind="other", message="looked at what it was told only: nothing is retired")
)


class Listening:
    """A collector with someone who listens to all that it says."""

    def __init__(self, collector: Collector, heard: list[Observation | Incomplete], *, ad_hoc: bool) -> None:
        self._collector = collector
        self._heard = heard
        self._ad_hoc = ad_hoc

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        async with aclosing(cast("Any", self._collector.collect())) as stream:
            async for said in stream:
                self._heard.append(said)
                yield said
        if self._ad_hoc:
            yield AD_HOC


def make(
    settings: CollectorSettings,
    told: Told,
    clock: Clock,
    view: InventoryView | None = None,
    folder: Path | None = None,
) -> tuple[CollectorJob, Collector]:
    """`folder`: where collectors keep what they must know the next time. Raises PluginFailed."""
    context = CollectorContext(
        clock=clock, progress=told, view=view, state_folder=collector_folder(folder, settings.name)
    )
    job = collector_job(settings, context)
    with guard("collectors", job.kind):
        return job, job.build()


async def run_once(
    store: Store, config: Config, work: Sequence[tuple[CollectorJob, Any]], clock: Clock
) -> list[Scan]:
    """Run each once, all at the same time, into the inventory; then judge what is due. Cancelled: what was seen is
    recorded and judged, then it passes on. Raises InventoryError, TrustError."""
    rules = await asyncio.to_thread(rule_set, config)
    writer = WriterThread(await asyncio.to_thread(store.writer))
    evaluator = Evaluator(store, writer, clock, lambda news: None)
    evaluator.use(rules)
    try:
        runs = [asyncio.ensure_future(run_scan(job, it, writer, clock)) for job, it in work]
        try:
            return list(await asyncio.gather(*runs))
        finally:
            for run in runs:
                run.cancel()
            await asyncio.gather(*runs, return_exceptions=True)
            await evaluator.round()
    finally:
        await evaluator.close()
        await writer.close()


def open_store(config: Config) -> Store:
    return open_inventory(config.inventory)
