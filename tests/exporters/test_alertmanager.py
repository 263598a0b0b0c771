"""Findings as alerts: what an Alertmanager must hear, and when no more."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from starlette.applications import Starlette

from certwatch.model.certificate import Fingerprint
from certwatch.model.finding import Finding, FindingID
from certwatch.model.location import Location, LocationURI, tls_location
from certwatch.model.observation import Scan
from certwatch.model.sighting import Served
from certwatch.plugins.exporter import ExporterContext, News
from certwatch.plugins.testing import EPOCH, FakeClock, make_certificate
from exporters.alertmanager import AlertmanagerConfig, AlertmanagerExporter
from tests.support.serving import INTERMEDIATE, SILENCE, served

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
        self.findings = findings

    def live(self) -> Iterator[Served]:
        return iter(())

    def open_findings(self) -> Iterator[Finding]:
        return iter(self.findings)

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
    """What one round would send. The clock is the exporter's own."""
    return [json.loads(alert) for key in manager._keys() if (alert := manager._alert(key)) is not None]


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


async def test_what_came_back_while_news_was_lost_is_told_as_firing_only() -> None:
    # The former resolved alert once stayed beside the firing one: the same labels, sent last, ended it.
    clock = FakeClock()
    manager = exporter(clock, finding(1))
    await manager.start()
    await manager.publish(News(resolved=(finding(1),)))
    await manager.start()
    (alert,) = told(manager, clock)
    assert datetime.fromisoformat(alert["endsAt"]) > clock()


async def test_what_was_resolved_while_news_was_lost_ends() -> None:
    clock = FakeClock()
    view = View([finding(1)])
    manager = AlertmanagerExporter(
        "am", AlertmanagerConfig(urls=("http://127.0.0.1:9",)), ExporterContext(clock=clock, view=view)
    )
    await manager.start()
    told(manager, clock)
    view.findings = ()
    clock.advance(seconds=1)
    await manager.start()
    (alert,) = told(manager, clock)
    assert datetime.fromisoformat(alert["endsAt"]) == clock()


async def test_a_clock_that_is_set_back_makes_no_alert_that_ends_before_it_starts() -> None:
    # Alertmanager refuses such an alert: nobody would hear of it.
    clock = FakeClock()
    manager = exporter(clock, finding(1), finding(2, severity="page"))
    await manager.start()
    await manager.publish(News(resolved=(finding(2, severity="page"),)))
    clock.advance(hours=-1)
    for alert in told(manager, clock):
        assert alert["startsAt"] <= alert["endsAt"]
        assert datetime.fromisoformat(alert["endsAt"]) <= clock() + timedelta(minutes=4)


async def test_a_location_that_moves_to_another_environment_takes_its_alert_along() -> None:
    clock = FakeClock()
    manager = exporter(clock, finding(1), finding(1, id=FindingID(7), rule="chain-order"))
    await manager.start()
    await manager.publish(News(changed=(place(1, "test"),)))
    ends = {
        (alert["labels"]["rule"], alert["labels"]["environment"]): datetime.fromisoformat(alert["endsAt"])
        > clock()
        for alert in told(manager, clock)
    }
    assert ends == {
        ("chain-incomplete", "test"): True,
        ("chain-order", "test"): True,
        ("chain-incomplete", "prod"): False,
        ("chain-order", "prod"): False,
    }
    await manager.publish(News(resolved=(finding(1),)))
    assert [
        alert["labels"]["rule"]
        for alert in told(manager, clock)
        if datetime.fromisoformat(alert["endsAt"]) > clock()
    ] == ["chain-order"]


async def test_the_certificates_name_is_a_label_and_does_not_change_while_the_alert_lives() -> None:
    issued = make_certificate()
    found = served((issued,), uri=place(1).location.uri)
    known = finding(1, fingerprint=found.chain[0].fingerprint_sha256)
    clock = FakeClock()
    manager = exporter(clock)
    await manager.start()
    await manager.publish(News(changed=(found,), opened=(known,)))
    (before,) = told(manager, clock)
    assert before["labels"]["name"] == "www.example.com"
    # A second location, of which nothing is known, joins the same matter.
    await manager.publish(News(opened=(replace(known, id=FindingID(2), location=place(2, "").location.uri),)))
    assert before["labels"] in [alert["labels"] for alert in told(manager, clock)]


async def test_labels_of_the_config_are_added_and_an_alerts_own_stand() -> None:
    clock = FakeClock()
    manager = exporter(clock, finding(1), labels={"site": "b", "severity": "none", "environment": "x"})
    await manager.start()
    (alert,) = told(manager, clock)
    assert (alert["labels"]["site"], alert["labels"]["severity"]) == ("b", "ticket")
    assert alert["labels"]["environment"] == "prod"


async def test_a_certificate_that_says_too_much_makes_no_request_too_large() -> None:
    clock = FakeClock()
    endless = finding(1, summary="s" * 10**6, text="t" * 10**6, owner='"\\\n\x00' * 10**4)
    manager = exporter(clock, endless)
    await manager.start()
    (key,) = manager._keys()
    alert = manager._alert(key)
    assert alert is not None
    assert len(alert) < 20_000


async def test_what_one_change_costs_does_not_grow_with_the_locations_of_the_matter() -> None:
    # Resolving 500 of 20,000 once held the event loop for a second and a half: each sorted them all.
    manager = exporter(FakeClock())
    await manager.start()
    uris = [tls_location(f"10.0.{n >> 8}.{n & 255}", 443) for n in range(5000)]
    many = tuple(finding(1, id=FindingID(n), location=uri) for n, uri in enumerate(uris))
    changed = tuple(served((), uri=uri) for uri in uris)
    await manager.publish(News(changed=changed, opened=many))
    began = time.process_time()
    await manager.publish(News(resolved=many[:500]))
    assert time.process_time() - began < 0.1
    assert told(manager, FakeClock())[0]["annotations"]["location_count"] == "4500"


async def test_below_the_least_severity_nothing_is_sent_and_what_falls_below_ends() -> None:
    clock = FakeClock()
    manager = exporter(clock, finding(1, severity="info"))
    await manager.start()
    assert told(manager, clock) == []
    await manager.publish(News(opened=(finding(2),)))
    await manager.publish(News(altered=(finding(2, severity="info"),)))
    (alert,) = told(manager, clock)
    assert datetime.fromisoformat(alert["endsAt"]) == EPOCH


async def test_what_is_silenced_ends_and_fires_again_when_the_silence_is_over() -> None:
    clock = FakeClock()
    manager = exporter(clock, finding(1), finding(2, rule="expiry", silence=SILENCE))
    await manager.start()
    assert [alert["labels"]["rule"] for alert in told(manager, clock)] == ["chain-incomplete"]
    await manager.publish(News(altered=(finding(1, silence=SILENCE),)))
    (alert,) = told(manager, clock)
    assert datetime.fromisoformat(alert["endsAt"]) == EPOCH
    clock.advance(minutes=1)
    await manager.publish(News(altered=(finding(1),)))
    (alert,) = told(manager, clock)
    assert datetime.fromisoformat(alert["endsAt"]) > clock()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"urls": []}, "at least 1"),
        ({"urls": ["127.0.0.1:9093"]}, "not an http"),
        ({"urls": ["http://[::1"]}, "urls"),
        ({"urls": ["http://me:secret@a"]}, "credentials"),
        ({"urls": ["http://a/?x=1"]}, "without query"),
        ({"urls": ["http://a"], "labels": {"my-team": "x"}}, "not a label name"),
        ({"urls": ["http://a"], "username": "x"}, "belong together"),
        ({"urls": ["http://a"], "resend": "10ms"}, "at least 1s"),
    ],
)
async def test_a_config_that_makes_no_sense_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as refused:
        AlertmanagerConfig.model_validate(config)
    assert "secret" not in refused.value.errors()[0]["msg"]


async def test_the_page_that_an_alert_links_to_is_answered() -> None:
    manager = exporter(FakeClock(), finding(1))
    await manager.start()
    (alert,) = told(manager, FakeClock())
    path = alert["annotations"]["runbook_url"].removeprefix("https://certwatch.test")
    transport = httpx.ASGITransport(Starlette(routes=manager.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get(path)
        assert (answer.status_code, "## What to do" in answer.text) == (200, True)
        assert (await client.get("/docs/rules/no-such-rule.md")).status_code == 404


def at(number: int, *chain: Any, collectors: tuple[str, ...] = ("edge",), **labels: str) -> Served:
    uri = tls_location(f"192.0.2.{number}", 443)
    found = served(chain, uri=uri, id=number, collectors=collectors)
    return replace(found, location=Location(uri=uri, labels=labels))


async def test_a_page_says_who_is_paged_for_the_team_and_a_ticket_does_not() -> None:
    clock = FakeClock()
    context = ExporterContext(
        clock=clock,
        view=View([finding(1, severity="page"), finding(2)]),
        pages={"payments": "payments-oncall"},
    )
    manager = AlertmanagerExporter("am", AlertmanagerConfig(urls=("http://127.0.0.1:9",)), context)
    await manager.start()
    paged = {each["labels"]["severity"]: each["labels"].get("page") for each in told(manager, clock)}
    assert paged == {"page": "payments-oncall", "ticket": None}


async def test_a_certificate_and_its_issuer_have_the_label_of_the_same_ca() -> None:
    clock = FakeClock()
    manager = exporter(clock)
    await manager.start()
    place = at(1, make_certificate(issuer=INTERMEDIATE), INTERMEDIATE)
    leaf, ca = (each.fingerprint_sha256 for each in place.chain)
    found = (
        finding(1, fingerprint=leaf, location=place.location.uri),
        finding(2, rule="expiry", fingerprint=ca, location=place.location.uri),
        finding(3, rule="unreachable", fingerprint=None, location=place.location.uri),
    )
    await manager.publish(News(changed=(place,), opened=found))
    shown = {each["labels"]["rule"]: each["labels"] for each in told(manager, clock)}
    assert shown["chain-incomplete"]["ca"] == shown["expiry"]["ca"] == ca.hex()[:16]
    assert shown["chain-incomplete"]["certificate"] == "leaf"
    assert shown["expiry"]["certificate"] == "ca"
    assert shown["unreachable"]["collector"] == "edge"
    assert "ca" not in shown["unreachable"]


async def test_regions_and_clusters_are_told_apart_where_places_have_them() -> None:
    clock = FakeClock()
    manager = exporter(clock)
    await manager.start()
    places = [at(1, region="eu"), at(2, region="eu"), at(3, region="us", cluster="b"), at(4)]
    found = tuple(finding(number) for number in range(1, 5))
    await manager.publish(News(changed=tuple(places), opened=found))
    shown = {
        (each["labels"].get("region"), each["labels"].get("cluster")): each["annotations"]["location_count"]
        for each in told(manager, clock)
    }
    assert shown == {("eu", None): "2", ("us", "b"): "1", (None, None): "1"}


def test_what_every_alert_has_is_no_label_to_group_by() -> None:
    with pytest.raises(ValidationError, match="'team' is a label that every alert has"):
        AlertmanagerConfig(urls=("http://a",), group_labels=("team",))


def routed(clock: FakeClock, *findings: Finding) -> AlertmanagerExporter:
    """What is at a place of the lab goes to the lab."""

    def route_of(finding: Finding, served: Served | None) -> str:
        return "lab" if served is not None and served.location.labels["environment"] == "lab" else ""

    context = ExporterContext(clock=clock, view=View(findings), route_of=route_of)
    return AlertmanagerExporter(
        "am", AlertmanagerConfig(urls=("http://127.0.0.1:9",), group_labels=()), context
    )


async def test_what_a_route_takes_has_its_label_and_an_alert_of_its_own() -> None:
    clock = FakeClock()
    manager = routed(clock, finding(1))
    await manager.start()
    assert [each["labels"].get("route") for each in told(manager, clock)] == [None]
    # The same matter at a place of the lab, and one that moves there: told as another alert, and the first one ends.
    await manager.publish(News(changed=(place(2, "lab"),), opened=(finding(2),)))
    assert sorted(each["labels"].get("route", "") for each in told(manager, clock)) == ["", "lab"]
    await manager.publish(News(changed=(place(1, "lab"),)))
    by_route = {each["labels"].get("route", ""): each for each in told(manager, clock)}
    assert by_route["lab"]["annotations"]["location_count"] == "2"
    assert by_route[""]["endsAt"] == clock().isoformat()


async def test_a_route_is_known_again_after_a_restart() -> None:
    clock = FakeClock()
    manager = routed(clock)
    manager._view = View((finding(3),))
    manager._route_of = lambda finding, served: "security" if served is not None else ""
    await manager.start()
    assert [each["labels"]["route"] for each in told(manager, clock)] == ["security"]
