"""What a daemon answers while another one works on the same inventory: all that can be read, and nobody is told anything."""

import asyncio
from collections.abc import Sequence

from starlette.routing import BaseRoute

import certwatch
from certwatch.config.settings import Config
from certwatch.engine.engine import CollectorState, Work
from certwatch.engine.known_rules import KnownRule
from certwatch.engine.publish import Publisher
from certwatch.engine.view import StoreView
from certwatch.model.clock import Clock
from certwatch.telemetry.metrics import STANDS_BY
from certwatch.web.exporter_routes import guarded
from certwatch.web.site import Reload, Site

#: Between two times of reading anew what `/metrics` shows, at least.
FOLLOW_SECONDS = 15.0
#: Part of its time that a standby reads: of a large inventory it shows an older state.
SHARE = 0.1


def listens(config: object) -> bool:
    """An exporter with this config answers on certwatch's port: it is asked, and tells nobody by itself."""
    return isinstance(getattr(config, "listen", None), str)


class Standby:
    """Owned by the event loop. Order: `use` any number of times, `stop`."""

    def __init__(self, view: StoreView, clock: Clock) -> None:
        self._view = view
        self._clock = clock
        self._publisher = Publisher()
        self._work = Work()
        self._following: asyncio.Task[None] | None = None
        STANDS_BY.set(1)

    async def use(self, config: Config, work: Work) -> None:
        asked = {each.name for each in config.exporters if listens(each.config)}
        self._work = work
        await self._publisher.use([job for job in work.exporters if job.name in asked])
        if self._following is None:
            self._following = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await self._publisher.drained()
            await asyncio.sleep(max(FOLLOW_SECONDS, (loop.time() - began) / SHARE))
            self._publisher.renew()

    def site(self, rules: Sequence[KnownRule], reload: Reload, host_names: frozenset[str] | None) -> Site:
        return Site(
            version=certwatch.__version__,
            clock=self._clock,
            not_ready=lambda: [f"exporter {name} has not started" for name in self._publisher.not_started()],
            broken=lambda: [f"exporter {name}: {why}" for name, why in self._publisher.broken.items()],
            collectors=self._collectors,
            rules=rules,
            reading=self._view.reading,
            reload=reload,
            host_names=host_names,
            stands_by=True,
        )

    def routes(self) -> list[BaseRoute]:
        return guarded(self._publisher.routes())

    def _collectors(self) -> list[CollectorState]:
        return [
            CollectorState(
                name=job.name, kind=job.kind, every=job.every, running=False, next_run=None, broken=""
            )
            for job in self._work.collectors
        ]

    async def stop(self) -> None:
        """Its routes answer nothing new any more."""
        STANDS_BY.set(0)
        if self._following is not None:
            self._following.cancel()
        await self._publisher.stop()
