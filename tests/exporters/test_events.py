"""Events: one line of JSON a happening, in ECS fields, to a file that may be rotated under it."""

import asyncio
import json
import os
import resource
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certwatch.model.certificate import Certificate, Fingerprint, Name, PublicKey
from certwatch.model.finding import Finding, FindingID
from certwatch.model.location import Location, file_location, tls_location
from certwatch.model.observation import LookError, Scan, ScanID
from certwatch.model.sighting import Served
from certwatch.plugins.exporter import ExporterContext, News
from certwatch.plugins.testing import EPOCH, FakeClock
from exporters.events import EventsConfig, EventsExporter
from exporters.events.documents import finding_document, location_document, scan_document, x509_fields
from exporters.events.sinks import FileSink

CERTIFICATE = Certificate(
    der=b"",
    fingerprint_sha256=Fingerprint(bytes(range(32))),
    spki_sha256=None,
    tbs_sha256=None,
    subject="CN=www.example.com,O=Example\\, Inc.,C=CH",
    issuer="CN=R11,O=Let's Encrypt,C=US",
    subject_der=None,
    issuer_der=None,
    serial_number=0x0ABC,
    not_before=EPOCH - timedelta(days=30),
    not_after=EPOCH + timedelta(days=60),
    names=(Name("dns:www.example.com"), Name("ip:192.0.2.1")),
    key=PublicKey(type="ec", bits=256, curve="secp256r1"),
    signature_algorithm="ecdsa-with-SHA256",
    is_ca=False,
)
ENDPOINT = tls_location("192.0.2.1", 443, server_name="www.example.com")
SERVED = Served(
    id=7,
    location=Location(uri=ENDPOINT, labels={"environment": "prod"}),
    collectors=("edge",),
    chain=(CERTIFICATE,),
    facts={"tls_version": "TLSv1.3", "cipher": "TLS_AES_128_GCM_SHA256"},
    error=None,
    failing_since=None,
    first_seen=EPOCH,
    last_seen=EPOCH,
    last_served=EPOCH,
    retired_at=None,
    owner="payments",
)
FINDING = Finding(
    id=FindingID(42),
    rule="expiry",
    severity="page",
    location=ENDPOINT,
    fingerprint=CERTIFICATE.fingerprint_sha256,
    summary="www.example.com expires",
    text="Renew it.",
    runbook="docs/rules/expiry.md",
    owner="payments",
    opened_at=EPOCH,
    resolved_at=None,
)


class View:
    """A view of one location."""

    def live(self) -> Iterator[Served]:
        yield SERVED

    def open_findings(self) -> Iterator[Finding]:
        yield FINDING

    def served(self, uri: str) -> Served | None:
        return SERVED if uri == ENDPOINT else None

    def last_scans(self) -> tuple[Scan, ...]:
        return ()


def exporter(path: Path) -> EventsExporter:
    return EventsExporter("events", EventsConfig(path=path), ExporterContext(clock=FakeClock(), view=View()))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def stop(running: "asyncio.Task[None]") -> None:
    """Stopping makes a last attempt, so that afterwards everything is written."""
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_a_finding_carries_rule_certificate_place_and_owner() -> None:
    document = finding_document("finding-opened", FINDING, SERVED, EPOCH)
    assert document["event"]["action"] == "finding-opened"
    assert document["event"]["severity"] == 3
    assert document["rule"]["id"] == "expiry"
    assert document["x509"]["subject"]["common_name"] == ["www.example.com"]
    assert document["x509"]["subject"]["organization"] == ["Example, Inc."]
    assert document["tls"]["server"]["x509"]["serial_number"] == "0ABC"
    assert document["tls"]["server"]["hash"]["sha256"] == CERTIFICATE.fingerprint_sha256.hex().upper()
    assert document["server"] == {
        "address": "192.0.2.1",
        "port": 443,
        "ip": "192.0.2.1",
        "domain": "www.example.com",
    }
    assert document["certwatch"] == {
        "location": ENDPOINT,
        "severity": "page",
        "owner": "payments",
        "fingerprint_sha256": CERTIFICATE.fingerprint_sha256.hex(),
    }
    assert document["labels"] == {"environment": "prod"}


def test_a_resolved_finding_has_an_end() -> None:
    resolved = replace(FINDING, resolved_at=EPOCH + timedelta(hours=1))
    document = finding_document("finding-resolved", resolved, SERVED, EPOCH)
    assert document["event"]["end"] == "2026-11-01T13:00:00.000Z"


def test_a_finding_of_an_unknown_place_is_still_told() -> None:
    document = finding_document("finding-opened", FINDING, None, EPOCH)
    assert document["message"] == "www.example.com expires"
    assert "x509" not in document


def test_a_file_has_its_path_and_its_certificate() -> None:
    served = replace(SERVED, location=Location(uri=file_location("/etc/ssl/a b.pem")))
    document = location_document("location-changed", served, EPOCH)
    assert document["file"]["path"] == "/etc/ssl/a b.pem"
    assert document["file"]["x509"]["serial_number"] == "0ABC"


def test_a_failing_look_names_its_kind() -> None:
    failing = replace(SERVED, error=LookError(kind="refused", message="192.0.2.1:443: connection refused"))
    document = location_document("location-changed", failing, EPOCH)
    assert document["error"] == {"code": "refused", "message": "192.0.2.1:443: connection refused"}
    assert document["event"]["outcome"] == "failure"


def test_a_scan_tells_how_long_it_took_in_nanoseconds() -> None:
    scan = Scan(
        id=ScanID(1),
        collector="edge",
        started_at=EPOCH,
        finished_at=EPOCH + timedelta(seconds=2),
        status="partial",
        error=LookError(kind="dns", message="x"),
        observations=3,
        errors=1,
    )
    document = scan_document(scan, EPOCH)
    assert (document["event"]["duration"], document["event"]["outcome"]) == (2_000_000_000, "failure")


def test_what_could_not_be_read_is_left_out() -> None:
    fields = x509_fields(replace(CERTIFICATE, not_after=None, key=PublicKey(type="unknown", bits=None)))
    assert "not_after" not in fields
    assert "public_key_size" not in fields


def test_a_file_renamed_away_is_opened_anew(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "events.ndjson")
    sink.write([b"1"])
    (tmp_path / "events.ndjson").rename(tmp_path / "events.ndjson.1")
    sink.write([b"2"])
    sink.shut()
    assert (tmp_path / "events.ndjson.1").read_bytes() == b"1\n"
    assert (tmp_path / "events.ndjson").read_bytes() == b"2\n"


def test_a_file_truncated_under_it_goes_on_at_its_new_end(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "events.ndjson")
    sink.write([b"1"])
    os.truncate(tmp_path / "events.ndjson", 0)
    sink.write([b"2"])
    sink.shut()
    assert (tmp_path / "events.ndjson").read_bytes() == b"2\n"


def test_a_disk_that_fills_up_in_a_line_leaves_no_half_line(tmp_path: Path) -> None:
    """A file size limit cuts a write short exactly as a full disk does."""
    sink = FileSink(tmp_path / "events.ndjson")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (25, before[1]))
        assert sink.write([b"0123456789", b"0123456789", b"0123456789"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert sink.write([b"after"]) == 1
    sink.shut()
    assert (tmp_path / "events.ndjson").read_bytes() == b"0123456789\n0123456789\nafter\n"


@pytest.mark.anyio
async def test_news_become_lines_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    events = exporter(path)
    await events.start()
    running = asyncio.create_task(events.run())
    await events.publish(News(changed=(SERVED,), opened=(FINDING,)))
    await events.publish(News(resolved=(FINDING,)))
    await stop(running)
    assert [each["event"]["action"] for each in lines(path)] == [
        "location-changed",
        "finding-opened",
        "finding-resolved",
    ]


@pytest.mark.anyio
async def test_a_finding_that_opens_by_time_alone_still_shows_its_certificate(tmp_path: Path) -> None:
    events = exporter(tmp_path / "events.ndjson")
    await events.publish(News(opened=(FINDING,)))
    running = asyncio.create_task(events.run())
    await stop(running)
    (told,) = lines(tmp_path / "events.ndjson")
    assert told["x509"]["serial_number"] == "0ABC"


@pytest.mark.anyio
async def test_what_is_pending_when_it_is_stopped_is_written_once(tmp_path: Path) -> None:
    events = exporter(tmp_path / "events.ndjson")
    running = asyncio.create_task(events.run())
    await asyncio.sleep(0)
    await events.publish(News(opened=(FINDING,) * 50))
    await stop(running)
    assert len(lines(tmp_path / "events.ndjson")) == 50
