"""Findings as Events on the objects that they are about: `kubectl describe secret web-tls` tells of them."""

import asyncio
import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import msgspec

from certwatch.doors.kubernetes import Access, Client, RequestFailed, from_kubeconfig, in_cluster
from certwatch.doors.kubernetes.access import current_context, kubeconfig_path
from certwatch.doors.kubernetes.kinds import KINDS, Kind
from certwatch.model.finding import SEVERITIES, Finding, FindingID, Severity
from certwatch.plugins.duration import Duration
from certwatch.plugins.exporter import ExporterConfig, ExporterContext, News
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import NOTIFICATIONS

log = get_logger(__name__)

#: API servers forget Events after an hour, unless told otherwise.
RESEND = timedelta(minutes=40)
#: Of one cluster; etcd is not there for our findings.
MOST = 1000
#: Seconds between two Events, on average.
PAUSE = 0.05
RETRY_SECONDS = 30.0
LAST_ATTEMPT_SECONDS = 2.0
#: The API's own limit is 1024 characters.
_MESSAGE = 1000
_NAME = 200
_NO_DNS_NAME = re.compile(r"[^a-z0-9.-]+|[.-]{2,}")
#: For objects that are in no namespace.
_DEFAULT = "default"


class KubernetesEventsConfig(ExporterConfig):
    #: The cluster's name in locations: that of the kubernetes collector's `cluster`, context or name.
    cluster: str
    #: As for the collector: the pod's service account, else $KUBECONFIG, else ~/.kube/config.
    kubeconfig: str | None = None
    #: None: the kubeconfig's current one.
    context: str | None = None
    #: Findings below it are not told.
    min_severity: Severity = "ticket"
    #: How often what is open is told again.
    resend: Duration = RESEND


@dataclass(frozen=True, slots=True)
class _Object:
    kind: Kind
    namespace: str
    name: str


class _Meta(msgspec.Struct):
    uid: str = ""


class _Item(msgspec.Struct):
    metadata: _Meta


class KubernetesEventsExporter:
    """Level-triggered: what is open is told again before the API server forgets it. What has been resolved ends by itself."""

    Config: ClassVar[type[ExporterConfig]] = KubernetesEventsConfig

    def __init__(self, name: str, config: ExporterConfig, context: ExporterContext) -> None:
        assert isinstance(config, KubernetesEventsConfig)  # noqa: S101
        self.config = config
        self._name = name
        self._context = context
        # Owned by the event loop: what is open, and what of it is still to be told in this round.
        self._open: dict[FindingID, Finding] = {}
        self._due: dict[FindingID, None] = {}
        self._woken = asyncio.Event()
        self._said = ""

    async def start(self) -> None:
        self._open = await asyncio.to_thread(
            lambda: {each.id: each for each in self._context.view.open_findings() if self._is_told(each)}
        )
        self._due = dict.fromkeys(self._open)
        self._woken.set()

    def _is_told(self, finding: Finding) -> bool:
        grave = SEVERITIES.index(finding.severity) <= SEVERITIES.index(self.config.min_severity)
        return finding.is_told and grave and _object(finding, self.config.cluster) is not None

    async def publish(self, news: News) -> None:
        for each in (*news.resolved, *news.altered):
            self._open.pop(each.id, None)
            self._due.pop(each.id, None)
        for each in (*news.opened, *news.altered):
            if self._is_told(each):
                self._open[each.id] = each
                self._due[each.id] = None
                self._woken.set()

    async def run(self) -> None:
        async with Client(self.config.cluster, self._access) as client:
            try:
                while True:
                    went = await self._tell_all(client)
                    wait = self.config.resend.total_seconds() if went else RETRY_SECONDS
                    with suppress(TimeoutError):
                        async with asyncio.timeout(wait):
                            await self._woken.wait()
                        # What opens together is told together.
                        await asyncio.sleep(PAUSE)
                    if not self._woken.is_set() and went:
                        self._due = dict.fromkeys(self._open)
                    self._woken.clear()
            finally:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LAST_ATTEMPT_SECONDS):
                        await self._tell_all(client)

    def _access(self) -> Access:
        """Blocking. Raises AccessError."""
        config = self.config
        if not (config.kubeconfig or config.context):
            found = in_cluster(os.environ)
            if found is not None:
                return found
        path = Path(config.kubeconfig).expanduser() if config.kubeconfig else kubeconfig_path(os.environ)
        return from_kubeconfig(path, config.context or current_context(path))

    async def _tell_all(self, client: Client) -> bool:
        """False: something could not be told now, and is tried again."""
        left = list(self._due)
        if len(left) > MOST:
            log.warning(
                "kubernetes_events_left_out", exporter=self._name, findings=len(left) - MOST, most=MOST
            )
        refused = ""
        for id in left[:MOST]:
            finding = self._open.get(id)
            try:
                if finding is not None:
                    await self._tell(client, finding)
            except RequestFailed as failed:
                NOTIFICATIONS.labels(self._name, "failed").inc()
                self._say(failed.message)
                if failed.status in (0, 401, 429) or failed.status >= 500:
                    return False
                # It is about this object alone: no right in its namespace.
                refused = failed.message
            self._due.pop(id, None)
            await asyncio.sleep(PAUSE)
        for id in left[MOST:]:
            self._due.pop(id, None)
        self._say(refused)
        return True

    def _say(self, why: str) -> None:
        """Once, not with every attempt."""
        if why and why != self._said:
            log.warning(
                "kubernetes_events_failed", exporter=self._name, cluster=self.config.cluster, error=why
            )
        self._said = why

    async def _tell(self, client: Client, finding: Finding) -> None:
        about = _object(finding, self.config.cluster)
        if about is None:
            return
        uid = await self._uid(client, about)
        if uid is None:
            return  # deleted: the next scan says so as well
        namespace = about.namespace or _DEFAULT
        path = f"/api/v1/namespaces/{namespace}/events"
        name = _event_name(about, finding)
        now = self._context.clock()
        try:
            body = _event(about, finding, uid, namespace, name, now, self._context.external_url)
            await client.create(path, json.dumps(body).encode())
        except RequestFailed as failed:
            if failed.status != 409:
                raise
            again = {"lastTimestamp": _shown(now), "message": _message(finding, self._context.external_url)}
            await client.merge(f"{path}/{name}", json.dumps(again).encode())
        NOTIFICATIONS.labels(self._name, "ok").inc()

    async def _uid(self, client: Client, about: _Object) -> str | None:
        """kubectl describe finds Events by it. None: there is no such object (any more)."""
        asked = {"fieldSelector": f"metadata.name={about.name}"}
        try:
            async for page in client.pages(
                about.kind.path(about.namespace), asked, limit=1, metadata_only=True
            ):
                for item in page.items:
                    return msgspec.json.decode(item, type=_Item).metadata.uid
        except RequestFailed as failed:
            if failed.status != 404:
                raise
        return None

    def routes(self) -> Sequence[Any]:
        return ()


def _object(finding: Finding, cluster: str) -> _Object | None:
    """None: it is about something else than an object of this cluster."""
    if not finding.location.startswith("k8s://"):
        return None
    try:
        parts = urlsplit(finding.location)
    except ValueError:
        return None
    words = [unquote(each) for each in (parts.netloc, *parts.path.split("/")[1:])]
    if len(words) != 4 or words[0] != cluster or words[2] not in KINDS:
        return None
    return _Object(KINDS[words[2]], "" if words[1] == "-" else words[1], words[3])


def _event_name(about: _Object, finding: Finding) -> str:
    """The same for the same matter, so that it is one Event however often it is told. A DNS name, which those of some kinds are
    not: the APIService "v1.", a ClusterTrustBundle "signer:name"."""
    matter = f"{finding.location} {finding.rule} {finding.fingerprint!r}"
    shown = _NO_DNS_NAME.sub("-", about.name.lower())[:_NAME].strip("-.")
    return f"{shown or 'object'}.{hashlib.sha256(matter.encode('utf-8', 'replace')).hexdigest()[:16]}"


def _message(finding: Finding, external_url: str) -> str:
    text = f"{finding.summary} ({finding.rule}, {finding.severity}). {finding.text}"
    text = "".join(each if each.isprintable() else " " for each in text)
    link = f" {external_url}/findings/{finding.id}" if external_url else ""
    return text[: _MESSAGE - len(link)] + link


def _event(
    about: _Object,
    finding: Finding,
    uid: str,
    namespace: str,
    name: str,
    now: datetime,
    external_url: str,
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": about.kind.version,
            "kind": about.kind.name,
            "name": about.name,
            "namespace": about.namespace,
            "uid": uid,
        },
        "type": "Normal" if finding.severity == "info" else "Warning",
        "reason": "".join(word.capitalize() for word in finding.rule.split("-"))[:128],
        "message": _message(finding, external_url),
        "source": {"component": "certwatch"},
        "reportingComponent": "certwatch",
        "reportingInstance": "certwatch",
        "firstTimestamp": _shown(finding.opened_at),
        "lastTimestamp": _shown(now),
        "count": 1,
    }


def _shown(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
