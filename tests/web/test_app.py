import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from certwatch.inventory.store import Counts, InventoryError
from certwatch.model.finding import Finding, FindingID
from certwatch.model.location import LocationURI
from certwatch.model.observation import LookError, Scan, ScanID
from certwatch.plugins.testing import EPOCH, make_certificate
from certwatch.telemetry.metrics import PLUGIN_FAILURES
from certwatch.web.access import TimeLimit
from certwatch.web.app import Site, make_app
from certwatch.web.exporter_routes import guarded
from certwatch.web.status import Status, read_status
from tests.engine.stage import stage

pytestmark = pytest.mark.anyio

EVIL = '<script>alert("x")</script>'


def status(**more: Any) -> Status:
    values: dict[str, Any] = {
        "read_at": EPOCH,
        "counts": Counts(certificates=2, locations=3, open_findings={"page": 1}),
        "scans": [
            Scan(
                id=ScanID(1),
                collector="edge",
                started_at=EPOCH,
                finished_at=EPOCH + timedelta(seconds=3),
                status="failed",
                error=LookError(kind="permission", message=EVIL),
                observations=1200,
                errors=4,
            )
        ],
        "expiries": [],
        "findings": [
            Finding(
                id=FindingID(1),
                rule="expiry",
                severity="page",
                location=LocationURI(f"x://{EVIL}"),
                fingerprint=None,
                summary=EVIL,
                text="",
                runbook="",
                owner=EVIL,
                opened_at=EPOCH,
                resolved_at=None,
            )
        ],
    }
    return Status(**{**values, **more})


def site(**more: Any) -> Site:
    async def reload() -> Sequence[str]:
        return ()

    values: dict[str, Any] = {
        "version": "1.2.3",
        "not_ready": list,
        "broken": list,
        "status": status,
        "reload": reload,
    }
    return Site(**{**values, **more})


async def ask(
    site: Site,
    path: str,
    *,
    method: str = "GET",
    routes: Sequence[Any] = (),
    client: str = "127.0.0.1",
    **headers: str,
) -> httpx.Response:
    transport = httpx.ASGITransport(make_app(site, routes), client=(client, 5555))
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9719") as http:
        return await http.request(method, path, headers=named)


async def test_it_is_healthy_while_it_lives_and_ready_when_it_works() -> None:
    assert (await ask(site(), "/-/healthy")).status_code == 200
    assert (await ask(site(), "/-/ready")).status_code == 200
    waiting = site(not_ready=lambda: ["exporter pager has not started"])
    assert (await ask(waiting, "/-/healthy")).status_code == 200
    answer = await ask(waiting, "/-/ready")
    assert (answer.status_code, answer.text) == (503, "not ready\nexporter pager has not started\n")


async def test_reloading_says_what_is_wrong_with_the_config() -> None:
    calls = 0

    async def reload() -> Sequence[str]:
        nonlocal calls
        calls += 1
        return ["certwatch.yaml:3: oh"] if calls == 1 else []

    first = await ask(site(reload=reload), "/-/reload", method="POST")
    assert first.status_code == 400
    assert "certwatch.yaml:3: oh" in first.text
    assert (await ask(site(reload=reload), "/-/reload", method="POST")).status_code == 200


async def test_reloading_is_a_post() -> None:
    answer = await ask(site(), "/-/reload")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert "Use POST" in answer.text


@pytest.mark.parametrize(
    ("client", "headers"),
    [
        ("192.0.2.1", {}),
        ("::ffff:192.0.2.1", {}),
        ("127.0.0.1", {"x_forwarded_for": "127.0.0.1"}),
        ("127.0.0.1", {"origin": "http://127.0.0.1:9719"}),
        ("127.0.0.1", {"sec_fetch_site": "cross-site"}),
    ],
)
async def test_reloading_is_refused_to_others_proxies_and_browsers(
    client: str, headers: dict[str, str]
) -> None:
    async def reload() -> Sequence[str]:
        raise AssertionError("reloaded")

    answer = await ask(site(reload=reload), "/-/reload", method="POST", client=client, **headers)
    assert answer.status_code == 403


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
async def test_reloading_is_for_this_machine(client: str) -> None:
    assert (await ask(site(), "/-/reload", method="POST", client=client)).status_code == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:9719", 200),
        ("[::1]:9719", 200),
        ("192.0.2.7", 200),
        ("localhost", 200),
        ("LOCALHOST:9719", 200),
        ("certs.example.com", 200),
        ("evil.example.com:9719", 421),
        ("localhost.evil.example.com", 421),
        ("", 421),
        ("[::1", 421),
    ],
)
async def test_a_server_on_loopback_answers_to_its_own_names_alone(host: str, expected: int) -> None:
    loopback = site(host_names=frozenset({"certs.example.com"}))
    assert (await ask(loopback, "/-/healthy", host=host)).status_code == expected


async def test_another_server_answers_to_any_name() -> None:
    assert (await ask(site(), "/-/healthy", host="certwatch.monitoring.svc:9719")).status_code == 200


async def test_nothing_from_outside_is_markup_on_the_page() -> None:
    answer = await ask(site(not_ready=lambda: [EVIL], broken=lambda: [EVIL]), "/")
    assert answer.status_code == 200
    assert "<script" not in answer.text
    assert answer.text.count("&lt;script&gt;") == 6
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")


async def test_the_page_of_an_empty_inventory_says_so() -> None:
    empty = status(counts=Counts(certificates=0, locations=0), scans=[], findings=[])
    answer = await ask(site(status=lambda: empty), "/")
    for sentence in ("No certificate has been seen yet.", "No scan has ended yet.", 'href="/metrics"'):
        assert sentence in answer.text


async def test_the_page_shows_what_expires_next_and_where(tmp_path: Path) -> None:
    issued = make_certificate(
        names=("dns:a.example.com", "dns:<b>"), not_after=EPOCH + timedelta(days=3), subject="a & b"
    )
    async with stage(tmp_path) as life:
        life.source.serve("x://a/", issued)
        await life.scan_and_judge()
        read = await asyncio.to_thread(read_status, life.view, EPOCH)
    answer = await ask(site(status=lambda: read), "/")
    assert "CN=a &amp; b" in answer.text
    assert "a.example.com, &lt;b&gt;" in answer.text
    assert "2026-11-04 12:00 UTC" in answer.text
    assert "x://a/" in answer.text
    assert "<td>edge</td>" in answer.text


async def test_the_status_is_json() -> None:
    answer = await ask(site(not_ready=lambda: ["oh"]), "/api/v1/status")
    told = json.loads(answer.text)
    assert (told["ready"], told["certificates"], told["open_findings"]) == (False, 2, {"page": 1})
    assert told["scans"][0]["finished_at"] == "2026-11-01T12:00:03Z"
    assert told["scans"][0]["error"] == {"kind": "permission", "message": EVIL}


async def test_an_inventory_that_cannot_be_read_is_said() -> None:
    def refuse() -> Status:
        raise InventoryError("corrupt", "inventory x.db: the file is damaged")

    for path in ("/", "/api/v1/status"):
        answer = await ask(site(status=refuse), path)
        assert answer.status_code == 503
        assert "the file is damaged" in answer.text


async def test_what_is_not_there_is_said_in_plain_words() -> None:
    answer = await ask(site(), "/nothing")
    assert (answer.status_code, answer.text) == (404, "There is nothing at /nothing. See /\n")


async def test_exporters_answer_their_own_routes() -> None:
    async def metrics(request: Request) -> Response:
        return PlainTextResponse("up 1\n")

    answer = await ask(site(), "/metrics", routes=guarded([("prometheus", Route("/metrics", metrics))]))
    assert answer.text == "up 1\n"


async def test_an_exporters_route_that_fails_is_its_own_failure() -> None:
    async def metrics(request: Request) -> Response:
        raise ZeroDivisionError("oh")

    before = PLUGIN_FAILURES.labels("exporters", "faulty", "ZeroDivisionError")._value.get()
    routes = guarded([("faulty", Route("/metrics", metrics)), ("faulty", "no route")])
    assert len(routes) == 1
    answer = await ask(site(), "/metrics", routes=routes)
    assert answer.status_code == 500
    assert "exporter 'faulty' failed" in answer.text
    assert PLUGIN_FAILURES.labels("exporters", "faulty", "ZeroDivisionError")._value.get() == before + 1
    assert (await ask(site(), "/metrics", routes=routes, method="DELETE")).status_code == 405


async def test_a_request_is_bounded_in_time() -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    transport = httpx.ASGITransport(TimeLimit(never, seconds=0.01))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        assert (await http.get("/")).status_code == 503


async def test_reading_happens_once_for_many() -> None:
    reads = 0

    def read() -> Status:
        nonlocal reads
        reads += 1
        return status()

    app = make_app(site(status=read))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        await asyncio.gather(*[http.get("/") for _ in range(5)])
    assert reads == 1
