"""Findings as alerts, to every Alertmanager, sent again until they are resolved."""

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar

import httpx
from starlette.routing import Route

from certwatch.model.finding import SEVERITIES, Finding
from certwatch.model.location import LocationURI
from certwatch.model.sighting import Served
from certwatch.plugins.exporter import ExporterConfig, ExporterContext, News
from exporters.alertmanager.config import AlertmanagerConfig
from exporters.alertmanager.grouping import Context, Groups, Key
from exporters.alertmanager.runbooks import runbook
from exporters.alertmanager.sender import TIMEOUT_SECONDS, Refused, Sender

__all__ = ["AlertmanagerConfig", "AlertmanagerExporter"]

#: A resolved alert is sent for so long, so that every Alertmanager hears of it, one that is just restarting too.
TELL_RESOLVED = timedelta(minutes=15)
#: A firing alert ends by itself after this many rounds without certwatch: more than one may be missed.
ROUNDS_ALIVE = 4
LAST_ATTEMPT_SECONDS = 4.5


class AlertmanagerExporter:
    """Level-triggered: what fires is what the inventory says is open. An Alertmanager that is down loses nothing.
    What was resolved while certwatch was down is not sent again: it ends at Alertmanager by its endsAt."""

    Config: ClassVar[type[ExporterConfig]] = AlertmanagerConfig
    repeats: ClassVar[bool] = True

    def __init__(self, name: str, config: ExporterConfig, context: ExporterContext) -> None:
        assert isinstance(config, AlertmanagerConfig)  # noqa: S101
        self.config = config
        self._name = name
        self._clock = context.clock
        self._view = context.view
        self._route_of = context.route_of
        self._told = Context(labels=config.labels, external_url=context.external_url, pages=context.pages)
        # Both are owned by the event loop.
        self._groups = Groups()
        self._senders: list[Sender] = []

    async def start(self) -> None:
        groups = await asyncio.to_thread(self._read)
        groups.inherit(self._groups, self._clock())
        self._groups = groups
        self._wake(groups.keys())

    def _read(self) -> Groups:
        groups, now = Groups(), self._clock()
        known: dict[LocationURI, Served | None] = {}
        for finding in self._view.open_findings():
            if self._is_sent(finding):
                if finding.location not in known:
                    known[finding.location] = self._view.served(finding.location)
                self._put(groups, finding, known[finding.location], now)
        return groups

    def _is_sent(self, finding: Finding) -> bool:
        return finding.is_told and SEVERITIES.index(finding.severity) <= SEVERITIES.index(
            self.config.min_severity
        )

    async def publish(self, news: News) -> None:
        groups, now = self._groups, self._clock()
        changed: set[Key] = set()
        for served in news.changed:
            changed |= groups.move(
                served.location.uri, self._group(served), partial(self._route, served=served), now
            )
        present = [each for each in (*news.opened, *news.altered) if self._is_sent(each)]
        known: dict[LocationURI, Served | None] = {each.location.uri: each for each in news.changed}
        unknown = {each.location for each in present} - known.keys()
        if unknown:
            known |= await asyncio.to_thread(lambda: {uri: self._view.served(uri) for uri in unknown})
        for finding in present:
            changed |= self._put(groups, finding, known[finding.location], now)
        for finding in (*news.resolved, *(each for each in news.altered if not self._is_sent(each))):
            changed |= groups.remove(finding.id, now)
        self._wake(changed)

    def _put(self, groups: Groups, finding: Finding, served: Served | None, now: datetime) -> set[Key]:
        known = {} if served is None else _known(finding, served)
        route = self._route(finding, served=served)
        return groups.put(finding, group=self._group(served), known=known, now=now, route=route)

    def _route(self, finding: Finding, *, served: Served | None) -> str:
        return self._route_of(finding, served) if self._route_of is not None else ""

    def _group(self, served: Served | None) -> tuple[tuple[str, str], ...]:
        labels = served.location.labels if served is not None else {}
        return tuple((each, labels[each]) for each in self.config.group_labels if labels.get(each))

    def _wake(self, changed: Iterable[Key]) -> None:
        keys = list(changed)
        if keys:
            for sender in self._senders:
                sender.wake(keys)

    def _keys(self) -> list[Key]:
        """Everything that an Alertmanager must hear now."""
        self._groups.forget_resolved(self._clock() - TELL_RESOLVED)
        return list(self._groups.keys())

    def _alert(self, key: Key) -> bytes | None:
        return self._groups.alert(key, self._clock(), self.config.resend * ROUNDS_ALIVE, self._told)

    async def run(self) -> None:
        client = await asyncio.to_thread(self._client)
        async with client:
            self._senders = [
                Sender(
                    name=self._name,
                    url=url,
                    client=client,
                    every=self.config.resend,
                    keys=self._keys,
                    alert=self._alert,
                    headers=self.config.headers,
                )
                for url in self.config.urls
            ]
            try:
                async with asyncio.TaskGroup() as tasks:
                    for sender in self._senders:
                        tasks.create_task(sender.run())
            finally:
                # Everything, not only what waits: what fires then lives through a restart.
                await asyncio.gather(*(_last_attempt(sender) for sender in self._senders))
                self._senders = []

    def _client(self) -> httpx.AsyncClient:
        """Raises OSError or ssl.SSLError if the CA's file cannot be used."""
        ca_file = self.config.ca_file
        verify = ssl.create_default_context(cafile=ca_file) if ca_file else True
        return httpx.AsyncClient(verify=verify, timeout=TIMEOUT_SECONDS, follow_redirects=False)

    def routes(self) -> Sequence[Any]:
        """The pages that alerts link to."""
        return (Route("/docs/rules/{rule}.md", runbook, methods=["GET"]),)


def _known(finding: Finding, served: Served) -> dict[str, str]:
    """Labels by which one alert can silence another: `ca` is that of a CA itself and of what it has issued, `collector`
    that of who cannot see."""
    if finding.fingerprint is None:
        return {"collector": served.collectors[0]} if served.collectors else {}
    for index, each in enumerate(served.chain):
        if each.fingerprint_sha256 == finding.fingerprint:
            above = served.chain[index + 1 : index + 2]
            ca = each if each.is_ca else above[0] if above else None
            role = "ca" if each.is_ca else "leaf"
            shown = {"name": each.shown, "certificate": role}
            return shown if ca is None else shown | {"ca": ca.fingerprint_sha256.hex()[:16]}
    return {}


async def _last_attempt(sender: Sender) -> None:
    try:
        async with asyncio.timeout(LAST_ATTEMPT_SECONDS):
            await sender.tell_all()
    except (Refused, TimeoutError):
        pass  # said already, by every attempt before; it ends there by its endsAt
