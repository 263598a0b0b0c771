"""Findings as alerts. The far side here is a small HTTP server that answers as told; the real Alertmanager is asked
in tests/integration/test_alertmanager.py."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from certwatch.model.certificate import Fingerprint
from certwatch.model.finding import Finding, FindingID
from certwatch.model.location import Location, LocationURI, tls_location
from certwatch.model.observation import Scan
from certwatch.model.sighting import Served
from certwatch.plugins.exporter import ExporterContext, News
from certwatch.plugins.testing import EPOCH, FakeClock
from exporters.alertmanager import AlertmanagerConfig, AlertmanagerExporter
from tests.support.serving import served

pytestmark = pytest.mark.anyio


def place(number: int, environment: str = "prod") -> Served:
    uri = tls_location(f"192.0.2.{number}", 443)
    found = served((), uri=uri, id=number)
    return replace(found, location=Location(uri=uri, labels={"environment": environment}))


def finding(number: int, **fields: Any) -> Finding:
    values: dict[str, Any] = {
        "id": FindingID(number),
        "rule": "chain-incomplete",
        "severity": "ticket",
        "location": place(number).location.uri,
        "fingerprint": Fingerprint(bytes(32)),
        "summary": "www.example.com is presented without its issuer",
        "text": "Serve the full chain.",
        "runbook": "docs/rules/chain-incomplete.md",
        "owner": "payments",
        "opened_at": EPOCH,
        "resolved_at": None,
    }
    return Finding(**(values | fields))


class View:
    def __init__(self, findings: Sequence[Finding] = ()) -> None:
        self._findings = findings

    def live(self) -> Iterator[Served]:
        return iter(())

    def open_findings(self) -> Iterator[Finding]:
        return iter(self._findings)

    def served(self, uri: LocationURI) -> Served | None:
        return place(int(uri.split(":")[1].rpartition(".")[2]))

    def last_scans(self) -> Sequence[Scan]:
        return ()


def exporter(
    clock: FakeClock, *findings: Finding, urls: Sequence[str] = ("http://127.0.0.1:9",), **config: Any
) -> AlertmanagerExporter:
    context = ExporterContext(clock=clock, view=View(findings), external_url="https://certwatch.test")
    return AlertmanagerExporter("am", AlertmanagerConfig(urls=tuple(urls), **config), context)


def told(manager: AlertmanagerExporter, clock: FakeClock) -> list[dict[str, Any]]:
    return manager._alerts(clock())


async def test_one_matter_at_many_locations_is_one_alert_that_names_them() -> None:
    clock = FakeClock()
    manager = exporter(clock, *(finding(number) for number in range(1, 31)))
    await manager.start()
    (alert,) = told(manager, clock)
    assert alert["labels"] == {
        "alertname": "CertwatchChainIncomplete",
        "severity": "ticket",
        "team": "payments",
        "environment": "prod",
        "rule": "chain-incomplete",
        "fingerprint": "0" * 16,
    }
    assert alert["annotations"]["location_count"] == "30"
    assert alert["annotations"]["locations"].endswith("… and 10 more")
    assert alert["annotations"]["runbook_url"] == "https://certwatch.test/docs/rules/chain-incomplete.md"
    assert alert["startsAt"] == "2026-11-01T12:00:00+00:00"


async def test_owners_severities_and_places_without_certificate_are_matters_of_their_own() -> None:
    clock = FakeClock()
    manager = exporter(
        clock,
        finding(1),
        finding(2, owner=""),
        finding(3, severity="page"),
        finding(4, fingerprint=None, rule="unreachable"),
        finding(5, fingerprint=None, rule="unreachable"),
    )
    await manager.start()
    alerts = told(manager, clock)
    assert len(alerts) == 5
    assert {alert["labels"]["team"] for alert in alerts} == {"payments", "unowned"}


async def test_a_firing_alert_ends_by_itself_when_certwatch_falls_silent() -> None:
    clock = FakeClock()
    manager = exporter(clock, finding(1), resend="60s")
    await manager.start()
    assert told(manager, clock)[0]["endsAt"] == (EPOCH + timedelta(minutes=4)).isoformat()


async def test_a_resolved_one_is_told_for_a_while_with_its_end_and_then_forgotten() -> None:
    clock = FakeClock()
    manager = exporter(clock, finding(1))
    await manager.start()
    clock.advance(minutes=1)
    await manager.publish(News(resolved=(finding(1, resolved_at=clock()),)))
    clock.advance(minutes=10)
    assert told(manager, clock)[0]["endsAt"] == (EPOCH + timedelta(minutes=1)).isoformat()
    clock.advance(minutes=10)
    assert told(manager, clock) == []


async def test_an_alert_stays_while_one_of_its_locations_does() -> None:
    clock = FakeClock()
    manager = exporter(clock, finding(1), finding(2))
    await manager.start()
    await manager.publish(News(resolved=(finding(1),)))
    (alert,) = told(manager, clock)
    assert alert["annotations"]["locations"] == finding(2).location


async def test_a_finding_that_grows_graver_moves_and_ends_the_lesser_alert() -> None:
    clock = FakeClock()
    manager = exporter(clock, finding(1))
    await manager.start()
    await manager.publish(News(altered=(finding(1, severity="page"),)))
    ends = {
        alert["labels"]["severity"]: datetime.fromisoformat(alert["endsAt"]) for alert in told(manager, clock)
    }
    assert ends["page"] > EPOCH
    assert ends["ticket"] == EPOCH


async def test_what_comes_back_fires_again() -> None:
    clock = FakeClock()
    manager = exporter(clock, finding(1))
    await manager.start()
    await manager.publish(News(resolved=(finding(1),)))
    await manager.publish(News(opened=(finding(9),)))
    (alert,) = told(manager, clock)
    assert datetime.fromisoformat(alert["endsAt"]) > clock()


async def test_below_the_least_severity_nothing_is_sent_and_what_falls_below_ends() -> None:
    clock = FakeClock()
    manager = exporter(clock, finding(1, severity="info"))
    await manager.start()
    assert told(manager, clock) == []
    await manager.publish(News(opened=(finding(2),)))
    await manager.publish(News(altered=(finding(2, severity="info"),)))
    (alert,) = told(manager, clock)
    assert datetime.fromisoformat(alert["endsAt"]) == EPOCH


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"urls": []}, "at least 1"),
        ({"urls": ["127.0.0.1:9093"]}, "not an http"),
        ({"urls": ["http://a"], "username": "x"}, "belong together"),
        ({"urls": ["http://a"], "resend": "10ms"}, "at least 1s"),
    ],
)
async def test_a_config_that_makes_no_sense_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        AlertmanagerConfig.model_validate(config)


class FarSide:
    """Answers POSTs with what it was told to, and keeps the alerts of those it took."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.taken: list[list[dict[str, Any]]] = []
        self.headers: list[str] = []
        self.heard = asyncio.Event()
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(
                    next(line for line in head.lower().split(b"\r\n") if b"content-length" in line).split()[1]
                )
                body = json.loads(await reader.readexactly(length))
                self.headers.append(head.decode())
                status = self.answers.pop(0) if self.answers else 200
                if status == 200:
                    self.taken.append(body)
                writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
                self.heard.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def far_side() -> AsyncIterator[FarSide]:
    side = FarSide()
    server = await asyncio.start_server(side.handle, "127.0.0.1", 0)
    side.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield side
    finally:
        server.close()


@asynccontextmanager
async def running(manager: AlertmanagerExporter) -> AsyncIterator[None]:
    await manager.start()
    task = asyncio.create_task(manager.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_change_is_told_at_once() -> None:
    async with far_side() as side:
        manager = exporter(FakeClock(), urls=[side.url])
        async with running(manager), asyncio.timeout(5):
            await manager.publish(News(opened=(finding(1),)))
            await side.heard.wait()
    assert side.taken[0][0]["labels"]["rule"] == "chain-incomplete"


async def test_one_that_is_down_keeps_nothing_from_the_other_and_hears_when_it_is_back() -> None:
    async with far_side() as good, far_side() as bad:
        bad.answers = [500]
        manager = exporter(FakeClock(), finding(1), urls=[bad.url, good.url])
        async with running(manager), asyncio.timeout(5):
            await good.heard.wait()
            while not bad.taken:
                bad.heard.clear()
                await bad.heard.wait()
    assert bad.taken[0] == good.taken[0]


async def test_a_batch_called_wrong_is_not_sent_over_and_over() -> None:
    async with far_side() as side:
        side.answers = [400]
        manager = exporter(FakeClock(), finding(1), urls=[side.url], resend="1h")
        async with running(manager), asyncio.timeout(5):
            await side.heard.wait()
    # Once by the round, once by the last attempt.
    assert len(side.headers) == 2


async def test_many_alerts_go_in_batches() -> None:
    async with far_side() as side:
        findings = [finding(1, id=FindingID(n), fingerprint=Fingerprint(n.to_bytes(32))) for n in range(1201)]
        manager = exporter(FakeClock(), *findings, urls=[side.url])
        async with running(manager), asyncio.timeout(10):
            while sum(map(len, side.taken)) < 1201:
                side.heard.clear()
                await side.heard.wait()
    assert [len(batch) for batch in side.taken[:3]] == [500, 500, 201]


async def test_secrets_come_from_their_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    async with far_side() as side:
        manager = exporter(FakeClock(), finding(1), urls=[side.url], token_file=tmp_path / "token")
        async with running(manager), asyncio.timeout(5):
            await side.heard.wait()
    assert "Authorization: Bearer s3cret" in side.headers[0]
