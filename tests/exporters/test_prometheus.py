"""The page that Prometheus scrapes."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from starlette.applications import Starlette

from certwatch.model.finding import Finding, FindingID
from certwatch.model.location import Location, LocationURI, file_location, tls_location
from certwatch.model.observation import LookError, Scan, ScanID
from certwatch.model.sighting import Served
from certwatch.plugins.exporter import ExporterContext, News
from certwatch.plugins.testing import EPOCH, FakeClock, Issued, make_certificate
from certwatch.telemetry.metrics import COMPROMISE_RECOVERY, RENEWALS
from exporters.prometheus import PrometheusConfig, PrometheusExporter, wants_openmetrics
from exporters.prometheus.exposition import escape, line
from exporters.prometheus.families import FAMILIES, UP
from exporters.prometheus.index import Index
from tests.support.serving import INTERMEDIATE, SILENCE, served

LEAF = make_certificate(issuer=INTERMEDIATE)
END = int((EPOCH + timedelta(days=60)).timestamp())
PLACE = served((LEAF, INTERMEDIATE), id=5, owner="payments")
PLACE = replace(PLACE, location=replace(PLACE.location, labels={"environment": "prod"}))
FAILING = replace(PLACE, error=LookError(kind="timeout", message="x"), failing_since=EPOCH)
SCAN = Scan(
    id=ScanID(1),
    collector="edge",
    started_at=EPOCH,
    finished_at=EPOCH,
    status="complete",
    error=None,
    observations=1,
    errors=0,
)


def strictly(text: str) -> list[Metric]:
    return list(parse_openmetrics(text))  # type: ignore[no-untyped-call]


def finding(number: int, **fields: Any) -> Finding:
    values: dict[str, Any] = {
        "id": FindingID(number),
        "rule": "expiry",
        "severity": "page",
        "location": PLACE.location.uri,
        "fingerprint": PLACE.chain[0].fingerprint_sha256,
        "summary": "s",
        "text": "t",
        "runbook": "r",
        "owner": "payments",
        "opened_at": EPOCH,
        "resolved_at": None,
    }
    return Finding(**(values | fields))


class View:
    """A view of what it is given."""

    def __init__(self, live: Sequence[Served] = (), findings: Sequence[Finding] = ()) -> None:
        self._live, self._findings = live, findings

    def live(self) -> Iterator[Served]:
        yield from self._live

    def open_findings(self) -> Iterator[Finding]:
        yield from self._findings

    def served(self, uri: LocationURI) -> Served | None:
        return next((each for each in self._live if each.location.uri == uri), None)

    def last_scans(self) -> Sequence[Scan]:
        return (SCAN,)


def exporter(view: View | None = None, **config: Any) -> PrometheusExporter:
    context = ExporterContext(clock=FakeClock(), view=view or View())
    return PrometheusExporter("prometheus", PrometheusConfig(**config), context)


async def get(prometheus: PrometheusExporter, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(Starlette(routes=prometheus.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    return answer


def samples(index: Index, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    text = b"".join(each.text for each in index.pieces(openmetrics=False)).decode()
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in parse_text(text)
        for sample in family.samples
        if sample.name == name
    }


def only(index: Index, name: str) -> float:
    (value,) = samples(index, name).values()
    return value


def filled(*places: Served, **options: Any) -> Index:
    index = Index(per_certificate=options.get("per_certificate", True))
    for place in places:
        index.put(place)
    return index


def test_each_certificate_of_a_chain_has_its_end() -> None:
    found = samples(filled(PLACE), "certwatch_certificate_not_after_timestamp_seconds")
    assert len(found) == 2
    leaf = next(dict(labels) for labels, value in found.items() if value == END)
    assert leaf == {
        "location": PLACE.location.uri,
        "position": "0",
        "fingerprint_sha256": PLACE.chain[0].fingerprint_sha256.hex(),
        "name": "www.example.com",
        "owner": "payments",
        "environment": "prod",
        "collector": "edge",
    }


def test_a_failed_look_keeps_the_last_known_end_with_its_age() -> None:
    index = filled(PLACE)
    index.put(FAILING)
    assert END in samples(index, "certwatch_certificate_not_after_timestamp_seconds").values()
    assert only(index, "certwatch_location_up") == 0
    assert only(index, "certwatch_location_failing_since_timestamp_seconds") == EPOCH.timestamp()
    assert only(index, "certwatch_location_last_served_timestamp_seconds") == EPOCH.timestamp()
    index.put(PLACE)
    assert only(index, "certwatch_location_up") == 1
    assert samples(index, "certwatch_location_failing_since_timestamp_seconds") == {}


def test_a_crl_has_its_next_update_while_it_is_seen_and_says_one() -> None:
    facts: dict[str, Any] = {
        "crl_issuer": "CN=Root",
        "crl_kind": "full",
        "crl_next_update": "2026-11-08T12:00:00Z",
    }
    place = served((), id=9, uri=file_location("/srv/root.crl"), owner="pki", facts=facts)
    index = filled(place)
    name = "certwatch_crl_next_update_timestamp_seconds"
    ((labels, value),) = samples(index, name).items()
    assert value == datetime(2026, 11, 8, 12, tzinfo=UTC).timestamp()
    assert dict(labels) == {
        "location": "file:///srv/root.crl",
        "issuer": "CN=Root",
        "owner": "pki",
        "collector": "edge",
    }
    for gone in ({}, {"crl_next_update": "never"}, {"crl_next_update": None}):
        index.put(replace(place, facts=gone))
        assert samples(index, name) == {}


def test_a_renewed_certificates_old_series_goes_and_a_retired_locations_all() -> None:
    renewed = make_certificate(issuer=INTERMEDIATE, not_after=EPOCH + timedelta(days=90))
    index = filled(PLACE)
    index.put(replace(PLACE, chain=served((renewed, INTERMEDIATE)).chain))
    assert END not in samples(index, "certwatch_certificate_not_after_timestamp_seconds").values()
    assert len(samples(index, "certwatch_certificate_info")) == 2
    index.put(replace(PLACE, retired_at=EPOCH))
    for name in (
        "certwatch_certificate_not_after_timestamp_seconds",
        "certwatch_certificate_info",
        "certwatch_locations",
    ):
        assert samples(index, name) == {}


def test_a_certificate_at_two_locations_is_told_once_and_stays_while_one_has_it() -> None:
    second = replace(PLACE, id=900, location=Location(uri=tls_location("192.0.2.2", 443)))
    index = filled(PLACE, second)
    assert len(samples(index, "certwatch_certificate_info")) == 2
    index.put(replace(PLACE, retired_at=EPOCH))
    assert len(samples(index, "certwatch_certificate_info")) == 2


def test_sums_go_by_owner_environment_and_collector() -> None:
    other = replace(FAILING, id=6, location=Location(uri=tls_location("192.0.2.2", 443)), owner="")
    index = filled(PLACE, other)
    prod = (("collector", "edge"), ("environment", "prod"), ("owner", "payments"))
    assert samples(index, "certwatch_locations") == {prod: 1, (("collector", "edge"),): 1}
    assert samples(index, "certwatch_locations_failing") == {prod: 0, (("collector", "edge"),): 1}
    assert samples(index, "certwatch_certificates")[prod] == 2


def test_the_earliest_end_is_told_apart_for_what_is_served_and_what_is_only_stored() -> None:
    sooner = make_certificate(issuer=INTERMEDIATE, not_after=EPOCH + timedelta(days=5))
    stored = served((sooner,), uri=file_location("/etc/x.pem"), id=7)
    index = filled(PLACE, stored)
    found = {
        dict(labels)["presence"]: value
        for labels, value in samples(index, "certwatch_expiry_earliest_timestamp_seconds").items()
    }
    assert found == {"served": END, "stored": (EPOCH + timedelta(days=5)).timestamp()}
    index.put(replace(stored, retired_at=EPOCH))
    assert len(samples(index, "certwatch_expiry_earliest_timestamp_seconds")) == 1


def test_what_stands_only_in_a_cas_books_has_no_series_and_does_not_count() -> None:
    ends = make_certificate(issuer=INTERMEDIATE, not_after=EPOCH + timedelta(days=1))
    index = filled(PLACE, served((ends,), uri=LocationURI("cadb://corp/0a"), id=7))
    assert set(samples(index, "certwatch_expiry_earliest_timestamp_seconds").values()) == {END}
    assert list(samples(index, "certwatch_locations").values()) == [1]
    assert not any(b"cadb:" in each.text for each in index.pieces(openmetrics=False))


def test_findings_are_counted_as_they_open_change_and_resolve() -> None:
    index = filled()
    index.open([finding(1), finding(2)])
    assert only(index, "certwatch_findings_open") == 2
    index.open([finding(2, severity="ticket")])
    assert sorted(samples(index, "certwatch_findings_open").values()) == [1, 1]
    index.resolve([finding(1), finding(2)])
    assert set(samples(index, "certwatch_findings_open").values()) == {0}


def test_silenced_findings_are_counted_apart() -> None:
    index = filled()
    index.open([finding(1), finding(2)])
    index.open([finding(2, silence=SILENCE)])
    assert only(index, "certwatch_findings_open") == 1
    assert only(index, "certwatch_findings_silenced") == 1
    index.resolve([finding(2)])
    assert only(index, "certwatch_findings_silenced") == 0


def test_without_series_for_each_certificate_the_sums_remain() -> None:
    index = filled(PLACE, per_certificate=False)
    assert samples(index, "certwatch_certificate_info") == {}
    assert samples(index, "certwatch_location_up") == {}
    assert only(index, "certwatch_locations") == 1


@pytest.mark.anyio
async def test_it_starts_from_the_view_and_follows_the_news() -> None:
    prometheus = exporter(View([PLACE], [finding(1)]))
    await prometheus.start()
    await prometheus.publish(News(changed=(FAILING,), resolved=(finding(1),), scans=(SCAN,)))
    text = b"".join(each.text for each in prometheus._index.pieces(openmetrics=False)).decode()
    assert 'certwatch_location_up{location="tls://192.0.2.1:443/?sni=www.example.com"' in text
    assert 'certwatch_findings_open{rule="expiry",severity="page",owner="payments"} 0' in text
    assert 'certwatch_collector_last_scan_timestamp_seconds{collector="edge",status="complete"}' in text


@pytest.mark.anyio
async def test_a_collector_that_is_configured_no_more_has_no_last_scan() -> None:
    prometheus = exporter(View([PLACE]))
    await prometheus.start()
    await prometheus.publish(News(scans=(SCAN,)))
    await prometheus.publish(News(forgotten=("edge",)))
    text = b"".join(each.text for each in prometheus._index.pieces(openmetrics=False)).decode()
    assert "certwatch_collector_last_scan_timestamp_seconds" not in text


def filled_exporter() -> PrometheusExporter:
    prometheus = exporter(per_certificate=True)
    prometheus._index.put(PLACE)
    prometheus._index.open([finding(1)])
    return prometheus


@pytest.mark.anyio
async def test_both_formats_parse_and_say_the_same() -> None:
    plain = (await get(filled_exporter())).text
    accept = "application/openmetrics-text;version=1.0.0;q=0.9,text/plain;q=0.5"
    strict = (await get(filled_exporter(), accept=accept)).text
    assert strict.endswith("# EOF\n")
    told = [
        sample
        for family in strictly(strict)
        for sample in family.samples
        if sample.name.startswith("certwatch_certificate") and "linted" not in sample.name
    ]
    assert {(each.name, each.value) for each in told} == {
        (sample.name, sample.value)
        for family in parse_text(plain)
        for sample in family.samples
        if sample.name.startswith("certwatch_certificate") and "linted" not in sample.name
    }
    assert len(told) == 2 + 2 + 2 + 1


@pytest.mark.anyio
async def test_every_family_stands_together_and_once() -> None:
    text = (await get(filled_exporter())).text
    seen = [each.split()[2] for each in text.splitlines() if each.startswith("# TYPE")]
    assert len(seen) == len(set(seen))


@pytest.mark.anyio
async def test_compressed_it_is_one_gzip_stream_of_the_same_bytes() -> None:
    prometheus = filled_exporter()
    transport = httpx.ASGITransport(Starlette(routes=prometheus.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        async with client.stream("GET", "/metrics", headers={"accept-encoding": "gzip"}) as answer:
            raw = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    unpacker = zlib.decompressobj(31)
    text = unpacker.decompress(raw).decode()
    assert "certwatch_certificate_info" in text
    # One member: many clients stop after the first.
    assert unpacker.eof
    assert unpacker.unused_data == b""


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text; version=1.0.0", True),
        ("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.5", False),
        ("application/openmetrics-text;q=nonsense", False),
    ],
)
def test_the_format_is_the_one_that_was_asked_for(accept: str, wanted: bool) -> None:
    assert wants_openmetrics(accept) is wanted


@given(st.text())
def test_no_label_value_can_break_the_page(value: str) -> None:
    text = f"# TYPE {UP.name} gauge\n{line(UP, (value or 'x', '', '', '', ''), 1).decode()}"
    (family,) = parse_text(text.replace("\r", " ").replace("\x85", " ") if "\r" in value else text)
    assert len(family.samples) == 1


def test_values_that_are_too_long_are_cut_and_still_told_apart() -> None:
    first, second = escape("a" * 5000 + "1"), escape("a" * 5000 + "2")
    assert len(first) < 1100
    assert first != second


def test_names_follow_the_conventions() -> None:
    for family in FAMILIES:
        assert family.name.startswith("certwatch_")
        assert not family.name.endswith("_total")
        assert family.help.endswith(".")


def test_a_renewal_is_counted_as_in_time_or_late() -> None:
    RENEWALS.clear()
    index = Index(per_certificate=True)
    old, new = (
        make_certificate(not_after=EPOCH + timedelta(days=days), key_number=days) for days in (60, 150)
    )

    def put(id: int, issued: Issued, days: float) -> None:
        at = EPOCH + timedelta(days=days)
        uri = tls_location(f"192.0.2.{id}", 443)
        index.put(served((issued,), id=id, uri=uri, last_served=at, last_seen=at))

    def counted(outcome: str) -> float:
        return float(RENEWALS.labels("", "", outcome)._value.get())

    for id, days in ((1, 30), (2, 59)):
        put(id, old, 0)
        put(id, old, 1)
        put(id, new, days)
    assert (counted("in-time"), counted("late")) == (1, 1)
    # Turned back: no renewal.
    put(1, old, 61)
    assert (counted("in-time"), counted("late")) == (1, 1)


def test_the_oldest_open_finding_is_told_and_how_long_a_compromise_took() -> None:
    index = Index(per_certificate=True)
    first = finding(1, rule="compromised", opened_at=EPOCH)
    second = finding(2, rule="compromised", opened_at=EPOCH + timedelta(hours=1))
    index.open([second, first])
    oldest = "certwatch_findings_oldest_timestamp_seconds"
    assert only(index, oldest) == EPOCH.timestamp()
    before = COMPROMISE_RECOVERY._sum.get()
    index.resolve([replace(first, resolved_at=EPOCH + timedelta(hours=3))])
    assert only(index, oldest) == (EPOCH + timedelta(hours=1)).timestamp()
    assert COMPROMISE_RECOVERY._sum.get() - before == 3 * 3600
    index.resolve([replace(second, resolved_at=EPOCH + timedelta(hours=3))])
    assert not samples(index, oldest)
