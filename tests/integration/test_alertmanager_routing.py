"""The routing that comes with certwatch, in a real Alertmanager: who is told, who is not, and of the end as well."""

import asyncio
import json
import re
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certwatch.expressions import compile
from certwatch.expressions.routes import Route, router
from certwatch.model.finding import Finding
from certwatch.model.location import LocationURI
from certwatch.model.observation import Scan
from certwatch.model.sighting import Served
from certwatch.plugins.exporter import ExporterContext, News
from certwatch.plugins.testing import make_certificate
from exporters.alertmanager import AlertmanagerConfig, AlertmanagerExporter
from tests.exporters.test_alertmanager import at, finding
from tests.exporters.test_alertmanager_sending import running
from tests.support.prometheus import alertmanager, alerts
from tests.support.servers import wait_until
from tests.support.serving import INTERMEDIATE
from tests.support.web_server import Request, web_server

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]

SHIPPED = Path(__file__).parents[2] / "alerts/alertmanager.yml"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Receivers:
    """What each receiver was told: (path, status, rule or alert)."""

    told: set[tuple[str, str, str]] = field(default_factory=set)

    async def take(self, request: Request) -> tuple[int, bytes]:
        for alert in json.loads(request.body)["alerts"]:
            labels = alert["labels"]
            self.told.add((request.target, alert["status"], labels.get("rule", labels["alertname"])))
        return 200, b"{}"


class Places:
    def __init__(self, places: Sequence[Served], findings: Sequence[Finding]) -> None:
        self._places = {each.location.uri: each for each in places}
        self._findings = findings

    def live(self) -> Iterator[Served]:
        return iter(self._places.values())

    def open_findings(self) -> Iterator[Finding]:
        return iter(self._findings)

    def served(self, uri: LocationURI) -> Served | None:
        return self._places.get(uri)

    def last_scans(self) -> Sequence[Scan]:
        return ()


def config(url: str) -> str:
    """As it is shipped, but for the receivers' addresses and how long they are kept waiting."""
    text = SHIPPED.read_text().replace("http://127.0.0.1:9096", url)
    text = re.sub(r"group_wait: \w+", "group_wait: 1s", text)
    return re.sub(r"group_interval: \w+", "group_interval: 1s", text)


def tell(manager: str, labels: dict[str, str]) -> None:
    """As Prometheus does."""
    body = [{"labels": labels, "startsAt": datetime.now(UTC).isoformat()}]
    request = urllib.request.Request(  # noqa: S310
        f"{manager}/api/v2/alerts", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310


def state_of(manager: str, rule: str) -> str:
    found = [each["status"]["state"] for each in alerts(manager) if each["labels"].get("rule") == rule]
    return found[0] if found else "absent"


async def test_pages_reach_who_is_on_call_and_what_follows_from_another_matter_reaches_nobody(
    tmp_path: Path,
) -> None:
    broken = at(1, make_certificate(issuer=INTERMEDIATE), INTERMEDIATE)
    lost, ownerless, stolen = at(2, collectors=("prod",)), at(3), at(4)
    leaf, ca = (each.fingerprint_sha256 for each in broken.chain)
    began: dict[str, Any] = {"opened_at": datetime.now(UTC) - timedelta(minutes=5)}
    page = finding(1, rule="expiry", severity="page", fingerprint=ca, location=broken.location.uri, **began)
    findings = (
        page,
        finding(2, rule="chain-untrusted", fingerprint=leaf, location=broken.location.uri, **began),
        finding(3, rule="unreachable", fingerprint=None, location=lost.location.uri, **began),
        finding(4, rule="weak-key", owner="", location=ownerless.location.uri, **began),
        finding(5, rule="compromised", severity="page", location=stolen.location.uri, **began),
    )
    receivers = Receivers()
    async with web_server(receivers.take) as web:
        with alertmanager(tmp_path, config=config(web.url)) as manager:
            # First what silences, as it does wherever the collector has failed for a while.
            failing = {"alertname": "CertwatchCollectorFailing", "severity": "ticket", "collector": "prod"}
            await asyncio.to_thread(tell, manager, failing)
            context = ExporterContext(
                clock=lambda: datetime.now(UTC),
                view=Places((broken, lost, ownerless, stolen), findings),
                pages={"payments": "payments-oncall"},
                route_of=router(
                    [Route(to="security", when=compile('finding.rule == "compromised"', scope="route"))]
                ),
            )
            exporter = AlertmanagerExporter("am", AlertmanagerConfig(urls=(manager,)), context)

            async def until(*told: tuple[str, str, str]) -> None:
                await asyncio.to_thread(
                    wait_until, lambda: receivers.told >= set(told), what=f"{told}", seconds=40
                )

            async with running(exporter):
                await until(
                    ("/payments-oncall", "firing", "expiry"),
                    ("/unowned", "firing", "weak-key"),
                    ("/security", "firing", "compromised"),
                    ("/tickets", "firing", "CertwatchCollectorFailing"),
                )
                assert await asyncio.to_thread(state_of, manager, "chain-untrusted") == "suppressed"
                assert await asyncio.to_thread(state_of, manager, "unreachable") == "suppressed"
                await exporter.publish(News(resolved=(page,)))
                # The end is told as well, and what it had silenced speaks for itself again.
                await until(
                    ("/payments-oncall", "resolved", "expiry"), ("/tickets", "firing", "chain-untrusted")
                )
    assert not {each for each in receivers.told if each[2] == "unreachable"}
    assert not {each for each in receivers.told if each[0] == "/pages"}
    # What a route takes goes nowhere else, though its owner has somebody on call.
    assert {each[0] for each in receivers.told if each[2] == "compromised"} == {"/security"}
