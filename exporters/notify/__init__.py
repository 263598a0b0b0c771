"""Findings to people by e-mail, chat and webhook: what pages at once, the rest as a digest for each owner."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import httpx

from certwatch.model.finding import Finding, Severity
from certwatch.model.location import LocationURI
from certwatch.model.sighting import Served
from certwatch.plugins.exporter import ExporterConfig, ExporterContext, News
from certwatch.telemetry.logs import get_logger
from exporters.notify.config import NotifyConfig
from exporters.notify.expiring import Horizon
from exporters.notify.message import Item, item
from exporters.notify.receiver import Receiver
from exporters.notify.ways import SEND_SECONDS, NotSent, key, way

__all__ = ["NotifyConfig", "NotifyExporter"]

log = get_logger(__name__)

LAST_ATTEMPT_SECONDS = 4.5


class NotifyExporter:
    """For those without Alertmanager. Each receiver is told what differs from what it was told last; what that was
    is kept in the state folder, so that neither a restart nor lost news makes it hear twice or never."""

    Config: ClassVar[type[ExporterConfig]] = NotifyConfig

    def __init__(self, name: str, config: ExporterConfig, context: ExporterContext) -> None:
        assert isinstance(config, NotifyConfig)  # noqa: S101
        self.config = config
        self._name = name
        self._context = context
        self._routes = config.routes()
        self._told = frozenset({*config.severities, *config.immediate})
        # Owned by the event loop: open findings that somebody is told of, by id, and by which of `_routes`.
        self._open: dict[int, Item] = {}
        self._ways: dict[int, str] = {}
        # The same by place, whose routes are asked again when it changes. Empty: there are none.
        self._at: dict[LocationURI, dict[int, Finding]] = {}
        # Open findings that somebody has silenced: told neither as open nor as resolved.
        self._silenced: set[int] = set()
        self._receivers: list[Receiver] = []
        #: Set while `run` has its receivers.
        self.running = asyncio.Event()
        self._horizon = Horizon(context.view, context.clock, config.expiring, self._route_of)

    def _route_of(self, owner: str) -> str | None:
        if owner in self._routes:
            return owner
        return "" if "" in self._routes else None

    async def start(self) -> None:
        findings = await asyncio.to_thread(lambda: list(self._context.view.open_findings()))
        places = await self._places(findings, {})
        self._open, self._ways, self._at, self._silenced = {}, {}, {}, set()
        self._take(findings, places)
        self._wake()

    async def _places(
        self, findings: Iterable[Finding], known: Mapping[LocationURI, Served | None]
    ) -> Mapping[LocationURI, Served | None]:
        """Where they are, as far as a route may ask for it."""
        if self._context.route_of is None:
            return {}
        view, missing = self._context.view, {each.location for each in findings} - known.keys()
        return {**known, **await asyncio.to_thread(lambda: {uri: view.served(uri) for uri in missing})}

    def _take(self, findings: Iterable[Finding], places: Mapping[LocationURI, Served | None]) -> None:
        """Open ones, into what somebody is told of, or what is silenced."""
        for each in findings:
            if each.silence is not None:
                self._silenced.add(each.id)
                continue
            if each.severity not in self._told:
                continue
            if self._context.route_of is not None:
                self._at.setdefault(each.location, {})[each.id] = each
            self._put(each, places.get(each.location))

    def _put(self, finding: Finding, served: Served | None) -> bool:
        """By the way that it has now. True: another than before."""
        before = self._ways.pop(finding.id, None)
        ask = self._context.route_of
        to = ask(finding, served) if ask is not None else ""
        way = to if to and to in self._routes else self._route_of(finding.owner)
        if way is None:
            self._open.pop(finding.id, None)
        else:
            self._ways[finding.id] = way
            # Also where it was known: `start` may have read it just before it was altered.
            self._open[finding.id] = item(finding, self._context.external_url)
        return way != before

    def _drop(self, finding: Finding) -> None:
        self._open.pop(finding.id, None)
        self._ways.pop(finding.id, None)
        self._silenced.discard(finding.id)
        there = self._at.get(finding.location)
        if there is not None:
            there.pop(finding.id, None)
            if not there:
                del self._at[finding.location]

    async def publish(self, news: News) -> None:
        new = (*news.opened, *news.altered)
        changed = {each.location.uri: each for each in news.changed}
        places = await self._places(new, changed)
        for finding in (*news.resolved, *news.altered):
            self._drop(finding)
        self._take(new, places)
        turned = [
            finding
            for uri, served in changed.items()
            for finding in self._at.get(uri, {}).values()
            if self._put(finding, served)
        ]
        if news.resolved or new or turned:
            self._wake()

    def _wake(self) -> None:
        for receiver in self._receivers:
            receiver.wake()

    def _open_of(self, route: str, severities: tuple[Severity, ...]) -> Mapping[int, Item]:
        return {
            id: each
            for id, each in self._open.items()
            if each.severity in severities and self._ways[id] == route
        }

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=SEND_SECONDS, follow_redirects=False) as client:
            self._receivers = await asyncio.to_thread(self._make_receivers, client)
            self.running.set()
            try:
                async with asyncio.TaskGroup() as tasks:
                    for receiver in self._receivers:
                        tasks.create_task(receiver.run())
            finally:
                await asyncio.gather(*(_last_attempt(each) for each in self._receivers))
                self._receivers = []
                self.running.clear()

    def _make_receivers(self, client: httpx.AsyncClient) -> list[Receiver]:
        """Blocking: reads files of URLs. Raises OSError or ValueError, which show no URL."""
        folder = self._context.state_folder
        if folder is None:
            log.warning("notify_state_not_kept", exporter=self._name, error="there is no folder for it")
        return [
            Receiver(
                name=self._name,
                route=route,
                way=way(url, lambda: client),
                path=folder / f"{key(route, url)}.json" if folder is not None else None,
                config=self.config,
                clock=self._context.clock,
                external_url=self._context.external_url,
                open=self._open_of,
                is_open=lambda id: id in self._open or id in self._silenced,
                expiring=self._horizon.of,
            )
            for route, settings in self._routes.items()
            for url in settings.read()
        ]

    def routes(self) -> Sequence[Any]:
        return ()


async def _last_attempt(receiver: Receiver) -> None:
    """What waits for its group goes now; else it would be told by the next start."""
    try:
        async with asyncio.timeout(LAST_ATTEMPT_SECONDS):
            await receiver.round(last=True)
    except (NotSent, TimeoutError):
        pass  # said already, by every attempt before
