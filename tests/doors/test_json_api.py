"""JSON APIs: what is tried again and what is not, bounds, and where credentials go."""

import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.doors import json_api
from certwatch.doors.json_api import Limits, RestClient, RestError
from certwatch.plugins.testing import EPOCH, FakeClock
from tests.support.rest_server import Answer, Asked, Reply, RestServer, rest_server
from tests.support.servers import free_port

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Iterator[RestServer]:
    def api(running: RestServer) -> Answer:
        def answer(asked: Asked) -> Reply:
            return Reply(body={"asked": dict(asked.query)})

        return answer

    with rest_server(api) as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    """Seconds between two attempts, which nobody waits for."""
    return []


@pytest.fixture
async def client(server: RestServer, waits: list[float]) -> AsyncIterator[RestClient]:
    async with made(server, sleep=noting(waits)) as it:
        yield it


def noting(waits: list[float]) -> Callable[[float], Awaitable[None]]:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    return sleep


def made(server: RestServer, **more: Any) -> RestClient:
    return RestClient(
        "test", server.url, clock=FakeClock(), limits=Limits(rate=1e6, attempts=4, timeout=20), **more
    )


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_passes_is_tried_again(
    server: RestServer, client: RestClient, waits: list[float], status: int
) -> None:
    server.faults += [Reply(status=status, body={})] * 3
    assert await client.get("/x", {"a": 1}) == {"asked": {"a": "1"}}
    assert len(server.asked) == 4
    assert all(0 < each <= 8 for each in waits)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 501])
async def test_what_does_not_pass_is_not_tried_again(
    server: RestServer, client: RestClient, status: int
) -> None:
    server.faults.append(Reply(status=status, body={"error": {"message": "no"}}))
    with pytest.raises(RestError, match=f"answers {status}: no") as raised:
        await client.get("/x")
    assert raised.value.status == status
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        ("7", 7, 7),
        (format_datetime(EPOCH + timedelta(seconds=9), usegmt=True), 9, 9),
        ("999999", 60, 60),
        ("soon", 0.5, 1),
        ("-5", 0.5, 1),
    ],
)
async def test_the_server_says_how_long_to_wait(
    server: RestServer, client: RestClient, waits: list[float], said: str, least: float, most: float
) -> None:
    server.faults.append(Reply(status=429, body={}, headers={"retry-after": said}))
    await client.get("/x")
    (waited,) = waits
    assert least <= waited <= most


async def test_after_so_many_attempts_it_is_given_up(
    server: RestServer, client: RestClient, waits: list[float]
) -> None:
    server.faults += [Reply(status=503, body=b"<html>busy</html>")] * 10
    with pytest.raises(RestError, match="answers 503"):
        await client.get("/x")
    assert len(server.asked) == 4


async def test_credentials_that_have_ended_are_asked_for_once_more(server: RestServer) -> None:
    asked: list[bool] = []

    async def credentials(refused: bool) -> Mapping[str, str]:
        asked.append(refused)
        return {"Authorization": f"Bearer {len(asked)}"}

    server.faults.append(Reply(status=401, body={}))
    async with made(server, credentials=credentials) as client:
        await client.get("/x")
        assert asked == [False, True]
        assert [each.headers["authorization"] for each in server.asked] == ["Bearer 1", "Bearer 2"]
        server.faults += [Reply(status=401, body={})] * 2
        with pytest.raises(RestError) as raised:
            await client.get("/x")
        assert raised.value.kind == "permission"


async def test_redirects_are_not_followed(server: RestServer, client: RestClient) -> None:
    server.faults.append(Reply(status=302, body={}, headers={"location": "https://elsewhere.example/"}))
    with pytest.raises(RestError, match="answers 302"):
        await client.get("/x")


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/",
        "//elsewhere.example/",
        "http://127.0.0.1:1/",
        "http://[",
        "file:///etc/passwd",
    ],
)
async def test_nothing_elsewhere_is_asked(server: RestServer, client: RestClient, url: str) -> None:
    with pytest.raises(RestError):
        client.url(url) if not url.startswith("//") else client.url("https:" + url)
    with pytest.raises(RestError, match="elsewhere"):
        client.url(server.url.replace("http://", "http://user@") + "/x")
    assert server.asked == []


async def test_an_answer_that_is_too_large_is_left(
    server: RestServer, client: RestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_api, "MAX_BYTES", 1000)
    large = gzip.compress(b'"' + b"a" * 100_000 + b'"')
    server.instead["/packed"] = Reply(body=large, headers={"content-encoding": "gzip"})
    server.instead["/plain"] = Reply(body=b'"' + b"a" * 2000 + b'"')
    for path in ("/packed", "/plain"):
        with pytest.raises(RestError, match="more than 1000 bytes"):
            await client.get(path)
    assert len(server.asked) == 2


# An empty answer is no empty object: a listing that is empty retires what it had.
@pytest.mark.parametrize(
    "body", [b"", b" \n", b"<html>", b"\xff\xfe", b"[" * 100_000, b'{"a":', gzip.compress(b"{}")]
)
async def test_what_is_no_json_is_said(server: RestServer, client: RestClient, body: bytes) -> None:
    server.instead["/x"] = Reply(body=body)
    with pytest.raises(RestError, match="answers no JSON") as raised:
        await client.get("/x")
    assert raised.value.kind == "malformed"
    assert raised.value.message.isprintable()


async def test_where_nothing_listens_is_said(waits: list[float]) -> None:
    async with RestClient(
        "test",
        f"http://127.0.0.1:{free_port()}",
        clock=FakeClock(),
        limits=Limits(attempts=2),
        sleep=noting(waits),
    ) as client:
        with pytest.raises(RestError, match="nothing listens there") as raised:
            await client.get("/x")
    assert raised.value.kind == "refused"
    assert len(waits) == 1


@given(st.text(max_size=100), st.sampled_from([None, 1, "", "x\x00\n", [], [{}], {"message": 1}]))
def test_any_refusal_becomes_one_printable_line(text: str, value: Any) -> None:
    for body in ({"error": value}, {"errors": [{"message": text}]}, {"msg": text}, value, text):
        said = json_api._refused("https://x.example/", 400, msgspec.json.encode(body))
        assert said.message.isprintable()
        assert len(said.message) < 500


def test_a_certificate_that_is_not_trusted_is_said() -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "self-signed certificate"
    error = httpx.ConnectError("failed")
    error.__cause__ = cause
    told = json_api._not_connected("https://x.example/", error)
    assert (told.kind, told.message) == (
        "tls-alert",
        "https://x.example/: its own certificate is not trusted: self-signed certificate.",
    )
