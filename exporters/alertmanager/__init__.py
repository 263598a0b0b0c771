"""Findings as alerts, to every Alertmanager, sent again until they are resolved."""

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Self

import httpx
from pydantic import Field, SecretStr, model_validator

from certwatch.model.finding import SEVERITIES, Finding, Severity
from certwatch.model.location import LocationURI
from certwatch.plugins.duration import Duration
from certwatch.plugins.exporter import ExporterConfig, ExporterContext, News
from exporters.alertmanager.grouping import Groups, Key, alert
from exporters.alertmanager.sender import Refused, Sender

#: A resolved alert is sent for so long, so that every Alertmanager hears of it, one that is just restarting too.
TELL_RESOLVED = timedelta(minutes=15)
#: A firing alert ends by itself after this many rounds without certwatch: more than one may be missed.
ROUNDS_ALIVE = 4
TIMEOUT_SECONDS = 10.0
LAST_ATTEMPT_SECONDS = 4.5


class AlertmanagerConfig(ExporterConfig):
    #: Every Alertmanager, each one by itself: they tell each other nothing of what they receive.
    urls: tuple[str, ...] = Field(min_length=1)
    #: How often everything that fires is sent again. Must be below Alertmanager's resolve_timeout.
    resend: Duration = timedelta(seconds=60)
    #: Findings below it are not sent.
    min_severity: Severity = "ticket"
    #: Added to every alert.
    labels: dict[str, str] = Field(default_factory=dict)
    username: str | None = None
    password_file: Path | None = None
    #: Bearer token.
    token_file: Path | None = None
    #: CA that signed the Alertmanagers' certificates. Absent: the system's.
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        for url in self.urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"urls: {url!r} is not an http(s) URL")
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file belong together")
        if self.username is not None and self.token_file is not None:
            raise ValueError("username and token_file exclude one another")
        if self.resend < timedelta(seconds=1):
            raise ValueError("resend: at least 1s")
        return self


class AlertmanagerExporter:
    """Level-triggered: what fires is what the inventory says is open. An Alertmanager that is down loses nothing.
    What was resolved while certwatch was down is not sent again: it ends at Alertmanager by its endsAt."""

    Config: ClassVar[type[ExporterConfig]] = AlertmanagerConfig

    def __init__(self, name: str, config: ExporterConfig, context: ExporterContext) -> None:
        assert isinstance(config, AlertmanagerConfig)  # noqa: S101
        self.config = config
        self._name = name
        self._context = context
        # All of it is owned by the event loop.
        self._groups = Groups()
        self._resolved: dict[Key, tuple[datetime, list[Finding]]] = {}
        self._environments: dict[LocationURI, str] = {}
        self._senders: list[Sender] = []

    async def start(self) -> None:
        groups, environments = Groups(), {}
        for finding, environment in await asyncio.to_thread(self._open):
            environments[finding.location] = environment
            groups.put(finding, environment)
        self._groups, self._environments = groups, environments
        self._wake()

    def _open(self) -> list[tuple[Finding, str]]:
        found: list[tuple[Finding, str]] = []
        known: dict[LocationURI, str] = {}
        for finding in self._context.view.open_findings():
            if self._is_sent(finding):
                if finding.location not in known:
                    known[finding.location] = self._look_up(finding.location)
                found.append((finding, known[finding.location]))
        return found

    def _look_up(self, uri: LocationURI) -> str:
        served = self._context.view.served(uri)
        return served.location.labels.get("environment", "") if served is not None else ""

    def _is_sent(self, finding: Finding) -> bool:
        return SEVERITIES.index(finding.severity) <= SEVERITIES.index(self.config.min_severity)

    async def publish(self, news: News) -> None:
        for served in news.changed:
            if served.location.uri in self._environments:
                self._environments[served.location.uri] = served.location.labels.get("environment", "")
        present = [each for each in (*news.opened, *news.altered) if self._is_sent(each)]
        unknown = {each.location for each in present} - self._environments.keys()
        if unknown:
            self._environments |= await asyncio.to_thread(
                lambda: {uri: self._look_up(uri) for uri in unknown}
            )
        changed: set[Key] = set()
        before: dict[Key, list[Finding]] = {}
        gone = [*news.resolved, *(each for each in news.altered if not self._is_sent(each))]
        for finding in present:
            for key in self._keys_of(finding):
                before.setdefault(key, self._groups.findings(key))
            changed |= self._groups.put(finding, self._environments[finding.location])
        for finding in gone:
            for key in self._keys_of(finding):
                before.setdefault(key, self._groups.findings(key))
            changed |= self._groups.remove(finding.id)
        now = self._context.clock()
        for key in changed:
            if self._groups.findings(key):
                self._resolved.pop(key, None)
            elif before.get(key):
                self._resolved[key] = (now, before[key])
        if changed:
            self._wake()

    def _keys_of(self, finding: Finding) -> Iterable[Key]:
        key = self._groups.key_of(finding.id)
        return () if key is None else (key,)

    def _wake(self) -> None:
        for sender in self._senders:
            sender.wake()

    def _alerts(self, now: datetime) -> list[dict[str, Any]]:
        """Everything that an Alertmanager must hear now."""
        for key in [key for key, (at, _) in self._resolved.items() if now - at > TELL_RESOLVED]:
            del self._resolved[key]
        ends_at = now + self.config.resend * ROUNDS_ALIVE
        told = [(key, self._groups.findings(key), ends_at) for key in self._groups.firing()]
        told += [(key, findings, at) for key, (at, findings) in self._resolved.items()]
        url = self._context.external_url
        return [
            alert(key, findings, ends_at=end, extra=self.config.labels, external_url=url)
            for key, findings, end in told
        ]

    async def run(self) -> None:
        client = await asyncio.to_thread(self._client)
        async with client:
            self._senders = [
                Sender(
                    name=self._name,
                    url=url,
                    client=client,
                    clock=self._context.clock,
                    every=self.config.resend,
                    alerts=self._alerts,
                )
                for url in self.config.urls
            ]
            try:
                async with asyncio.TaskGroup() as tasks:
                    for sender in self._senders:
                        tasks.create_task(sender.run())
            finally:
                await asyncio.gather(*(_last_attempt(sender) for sender in self._senders))
                self._senders = []

    def _client(self) -> httpx.AsyncClient:
        """Reads the secrets' files. Raises OSError with the file's name if one cannot be read."""
        config = self.config
        headers: dict[str, str] = {}
        auth = None
        if config.token_file is not None:
            headers["Authorization"] = f"Bearer {_secret(config.token_file).get_secret_value()}"
        if config.username is not None and config.password_file is not None:
            auth = httpx.BasicAuth(config.username, _secret(config.password_file).get_secret_value())
        verify = ssl.create_default_context(cafile=config.ca_file) if config.ca_file else True
        return httpx.AsyncClient(
            headers=headers, auth=auth, verify=verify, timeout=TIMEOUT_SECONDS, follow_redirects=False
        )

    def routes(self) -> Sequence[Any]:
        return ()


def _secret(path: Path) -> SecretStr:
    return SecretStr(path.read_text().strip())


async def _last_attempt(sender: Sender) -> None:
    try:
        async with asyncio.timeout(LAST_ATTEMPT_SECONDS):
            await sender.tell()
    except (Refused, TimeoutError):
        pass  # said already, by every attempt before; it ends there by its endsAt
