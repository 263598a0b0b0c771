import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from certwatch.inventory.store import InventoryError, Reader
from certwatch.plugins.testing import FakeClock
from certwatch.telemetry.metrics import PLUGIN_FAILURES
from certwatch.web.access import TimeLimit
from certwatch.web.app import make_app
from certwatch.web.exporter_routes import guarded
from certwatch.web.site import Site
from tests.support.filled import filled_site

pytestmark = pytest.mark.anyio

EVIL = '<script>alert("x")</script>'


def refusing(seconds: float | None = None) -> AbstractContextManager[Reader]:
    raise InventoryError("corrupt", "inventory x.db: the file is damaged")


def site(**more: Any) -> Site:
    """Without an inventory: whoever reads it is told that it is damaged."""

    async def reload() -> Sequence[str]:
        return ()

    values: dict[str, Any] = {
        "version": "1.2.3",
        "clock": FakeClock(),
        "not_ready": list,
        "broken": list,
        "collectors": list,
        "rules": (),
        "reading": refusing,
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


async def test_an_inventory_that_cannot_be_read_is_said() -> None:
    for path in (
        "/",
        "/certificates",
        "/findings/1",
        "/collectors",
        "/api/v1/status",
        "/api/v1/certificates",
    ):
        answer = await ask(site(), path)
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


async def test_reading_happens_once_for_many(tmp_path: Path) -> None:
    reads = 0
    with filled_site(tmp_path, 3) as filled:

        def counted(seconds: float | None) -> AbstractContextManager[Reader]:
            nonlocal reads
            reads += 1
            return filled.reading(seconds)

        app = make_app(replace(filled, reading=counted))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            answers = await asyncio.gather(*[http.get("/") for _ in range(5)])
    assert [each.status_code for each in answers] == [200] * 5
    assert reads == 1
