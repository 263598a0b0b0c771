"""An API server, or what stands in front of it, that says what no API server says: it is named, and nothing is taken for gone."""

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from certwatch.doors.kubernetes import Access, Client, RequestFailed
from certwatch.model.observation import Gone, Incomplete, Observation
from certwatch.plugins.testing import make_certificate
from certwatch.telemetry.metrics import KUBERNETES_UNREADABLE
from tests.support.kubernetes import secret
from tests.support.kubernetes_collector import Following
from tests.support.raw_http import RawServer, answer, raw_http

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

FIRST = make_certificate(key_number=61)
SECOND = make_certificate(names=["dns:new.example.com"], key_number=62)
SCOPE = "prod/pay/secrets"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """One event loop: none of these is about loops."""
    return "asyncio", {"use_uvloop": True}


def listed(*items: Any, version: str = "7", token: str = "", kind: str = "SecretList") -> bytes:
    meta = {"resourceVersion": version, "continue": token}
    return json.dumps({"kind": kind, "metadata": meta, "items": items}).encode()


def web(name: str = "web", version: str = "5", issued: Any = FIRST) -> dict[str, Any]:
    return secret("pay", name, {"tls.crt": issued.pem}, uid=name, resourceVersion=version)


def event(kind: str, body: Any) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


def stream(*parts: bytes) -> bytes:
    """A watch that says this and ends."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


class Liar:
    """`pages` in turn, the last again and again; the same of `watches`. Bytes are sent as they are."""

    def __init__(self) -> None:
        self.pages: list[bytes] = [answer("200 OK", listed(web()))]
        self.watches: list[bytes | None] = [None]
        self.lists_asked = 0
        self.watches_asked: list[str] = []
        self.page_of: Callable[[dict[str, str]], bytes] | None = None

    async def __call__(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        target = head.split(b" ", 2)[1].decode()
        query = dict(parse_qsl(urlsplit(target).query))
        if query.get("watch"):
            number = len(self.watches_asked)
            self.watches_asked.append(query.get("resourceVersion", ""))
            said = self.watches[min(number, len(self.watches) - 1)]
            if said is None:
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(600)
            else:
                writer.write(said)
        elif self.page_of is not None:
            self.lists_asked += 1
            writer.write(self.page_of(query))
        else:
            number = min(self.lists_asked, len(self.pages) - 1)
            self.lists_asked += 1
            writer.write(self.pages[number])
        await writer.drain()


@asynccontextmanager
async def lying(liar: Liar, folder: Path, **more: Any) -> AsyncIterator[Following]:
    async with raw_http(liar) as server:
        it = Following(settings(server, folder, **more))
        try:
            yield it
        finally:
            if it.changes is not None:
                await it.changes.aclose()


def settings(server: RawServer, folder: Path, **more: Any) -> dict[str, Any]:
    path = folder / "kubeconfig"
    document = {
        "current-context": "prod",
        "contexts": [{"name": "prod", "context": {"cluster": "prod", "user": "me"}}],
        "clusters": [{"name": "prod", "cluster": {"server": server.url}}],
        "users": [],
    }
    path.write_text(yaml.safe_dump(document))
    return {
        "kubeconfig": str(path),
        "namespaces": ["pay"],
        "sources": ["secrets"],
        "owner_keys": [],
        **more,
    }


def gap(said: list[Observation | Incomplete]) -> Incomplete:
    (missing,) = [each for each in said if isinstance(each, Incomplete)]
    assert missing.scope == SCOPE
    return missing


NO_LISTS = {
    "a page for people": b"<html><body>Sign in</body></html>",
    "nothing": b"",
    "an object": b"{}",
    "a status under 200": b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","code":401}',
    "a list of no instant": listed(version=""),
    "a list of no kind": listed(kind=""),
    "half of it": listed(web())[:-9],
    "zipped": gzip.compress(listed(web())),
    "a bomb": gzip.compress(b" " * (64 << 20)),
    "nested": b'{"kind":"SecretList","metadata":{"resourceVersion":"1"},"items":[' + b"[" * 100_000,
    "items of another kind": b'{"kind":"SecretList","metadata":{"resourceVersion":"1"},"items":7}',
    "a version that is a number": b'{"kind":"SecretList","metadata":{"resourceVersion":1},"items":[]}',
}


@pytest.mark.parametrize("what", NO_LISTS)
async def test_what_is_no_list_is_a_gap_and_no_empty_one(what: str, tmp_path: Path) -> None:
    liar = Liar()
    liar.pages.append(answer("200 OK", NO_LISTS[what]))
    async with lying(liar, tmp_path) as it:
        assert len(await it.scan()) == 1
        missing = gap(await it.scan())
        assert (missing.error.kind, missing.error.message) == (
            "malformed",
            'prod: cannot read secrets in "pay": the answer is no list of objects. It is tried again',
        )


async def test_a_body_that_is_shorter_than_it_says_is_a_gap(tmp_path: Path) -> None:
    liar = Liar()
    liar.pages.append(answer("200 OK", listed(web()))[:-20])
    async with lying(liar, tmp_path) as it:
        assert len(await it.scan()) == 1
        assert gap(await it.scan()).error.kind == "reset"


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    liar = Liar()
    liar.pages.append(answer("302 Found", b"", "Location: http://127.0.0.1:1/"))
    async with lying(liar, tmp_path) as it:
        await it.scan()
        assert "302" in gap(await it.scan()).error.message


@pytest.mark.parametrize("tokens", ["the same", "new ones without objects", "new ones with objects"])
async def test_a_list_that_goes_on_without_end_is_a_gap(tokens: str, tmp_path: Path) -> None:
    liar = Liar()
    many: list[Any] = [{}] * 20_000 if tokens == "new ones with objects" else []

    def page(query: dict[str, str]) -> bytes:
        token = "again" if tokens == "the same" else f"t{liar.lists_asked}"
        return answer("200 OK", listed(*many, token=token))

    liar.page_of = page
    async with lying(liar, tmp_path) as it:
        error = gap(await it.scan()).error
        assert error.kind == "malformed"
        assert "the list does not end" in error.message
        assert liar.lists_asked < 200


async def test_an_answer_that_comes_byte_by_byte_ends(tmp_path: Path) -> None:
    async def drip(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw_http(drip) as server:
        async with Client("prod", lambda: Access(server=server.url, tls=None), timeout=0.1) as client:
            with pytest.raises(RequestFailed) as failed:
                async for _ in client.pages("/api/v1/secrets", {}, limit=5):
                    pass
            assert failed.value.kind == "timeout"
            with pytest.raises(RequestFailed) as failed:
                await client.get("/api/v1/namespaces/pay/secrets/web")
            assert failed.value.kind == "timeout"


async def test_an_object_that_is_larger_than_any_is_refused() -> None:
    async def endless(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()

    async with raw_http(endless) as server:
        async with Client("prod", lambda: Access(server=server.url, tls=None)) as client:
            with pytest.raises(RequestFailed, match="larger than"):
                await client.get("/api/v1/namespaces/pay/secrets/web")
            with pytest.raises(RequestFailed, match="larger than"):
                async for _ in client.pages("/api/v1/secrets", {}, limit=2):
                    pass


async def test_a_watch_that_ends_at_once_is_not_asked_for_without_pause(tmp_path: Path) -> None:
    liar = Liar()
    liar.watches = [stream()]
    async with lying(liar, tmp_path) as it:
        await it.scan()
        with pytest.raises(TimeoutError):
            await it.next(seconds=3)
        # After half a second, one, two, …: of each as long as it is, or a quarter less.
        assert 1 <= len(liar.watches_asked) <= 5


async def test_bookmarks_without_end_cost_nothing_but_their_reading(tmp_path: Path) -> None:
    liar = Liar()
    marks = [
        event("BOOKMARK", {"kind": "Secret", "metadata": {"resourceVersion": str(each)}})
        for each in range(3_000)
    ]
    changed = event("MODIFIED", web(version="9", issued=SECOND))
    liar.watches = [stream(*marks, changed), None]
    async with lying(liar, tmp_path) as it:
        await it.scan()
        seen = await it.next()
        assert isinstance(seen, Observation)
        assert seen.chain == SECOND.chain_der


async def test_an_event_that_comes_byte_by_byte_is_one(tmp_path: Path) -> None:
    liar = Liar()
    body = event("MODIFIED", web(version="9", issued=SECOND))
    liar.watches = [stream(*(bytes([each]) for each in body)), None]
    async with lying(liar, tmp_path) as it:
        await it.scan()
        seen = await it.next()
        assert isinstance(seen, Observation)
        assert seen.chain == SECOND.chain_der


NO_EVENTS = {
    "a page for people": b"<html>\n",
    "nested": b'{"type":"ADDED","object":' + b"[" * 100_000 + b"\n",
    "no object": b'{"type":"ADDED"}\n',
    "another kind": b"[]\n",
    "an error without words": event("ERROR", {}),
    "an error that is none": event("ERROR", 7),
}


@pytest.mark.parametrize("what", NO_EVENTS)
async def test_what_is_no_event_is_asked_for_again_and_nothing_is_gone(what: str, tmp_path: Path) -> None:
    liar = Liar()
    liar.watches = [stream(NO_EVENTS[what]), stream(event("ADDED", web("new", "9", SECOND))), None]
    async with lying(liar, tmp_path) as it:
        await it.scan()
        seen = await it.next()
        assert isinstance(seen, Observation)
        assert seen.location == "k8s://prod/pay/secret/new?key=tls.crt"
        locations = {each.location for each in await it.scan() if isinstance(each, Observation)}
        assert len(locations) == 2


async def test_an_event_without_name_or_of_an_unknown_kind_changes_nothing(tmp_path: Path) -> None:
    liar = Liar()
    nameless = event("DELETED", {"metadata": {"resourceVersion": "8"}})
    unknown = event("REPLACED", web(version="8", issued=SECOND))
    liar.watches = [stream(nameless, unknown, event("ADDED", web("new", "9", SECOND))), None]
    async with lying(liar, tmp_path) as it:
        await it.scan()
        seen = await it.next()
        assert isinstance(seen, Observation)
        assert seen.location.endswith("/new?key=tls.crt")


async def test_a_version_that_goes_back_is_a_version_like_any(tmp_path: Path) -> None:
    """They are opaque (Kubernetes API concepts): only whether it is the same is asked."""
    liar = Liar()
    liar.watches = [
        stream(event("MODIFIED", web(version="3", issued=SECOND))),
        stream(event("DELETED", web(version="2"))),
        None,
    ]
    async with lying(liar, tmp_path) as it:
        await it.scan()
        assert isinstance(await it.next(), Observation)
        assert isinstance(await it.next(), Gone)
        assert liar.watches_asked[:2] == ["7", "3"]


async def test_what_is_no_object_is_counted_and_the_rest_is_seen(tmp_path: Path) -> None:
    liar = Liar()
    liar.pages = [answer("200 OK", listed(7, {}, {"metadata": []}, web(), {"metadata": {"name": "x"}}))]

    def counted() -> float:
        return float(KUBERNETES_UNREADABLE.labels("prod", "secrets")._value.get())

    before = counted()
    async with lying(liar, tmp_path) as it:
        (seen,) = await it.scan()
        assert isinstance(seen, Observation)
    assert counted() == before + 3


async def test_names_that_no_object_has_make_no_location(tmp_path: Path) -> None:
    liar = Liar()
    liar.pages = [answer("200 OK", listed(web("n" * 5000), web("../../etc"), web("a b\n\x00c"), web("good")))]
    async with lying(liar, tmp_path) as it:
        found = {each.location for each in await it.scan() if isinstance(each, Observation)}
        assert "k8s://prod/pay/secret/good?key=tls.crt" in found
        assert all(len(each) < 1200 and each.isprintable() and ".." not in each for each in found)


def test_the_liar_speaks_as_the_api_does() -> None:
    """That what is refused is refused for what is wrong with it."""
    found = json.loads(listed(web()))
    assert found["items"][0]["data"]["tls.crt"] == base64.b64encode(FIRST.pem).decode()


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False})])
async def test_readers_that_wait_for_a_passphrase_keep_no_thread_that_its_request_needs(
    tmp_path: Path, anyio_backend: Any
) -> None:
    """Names are resolved in the loop's own threads, of which a small machine has few: each of them once waited for itself."""
    store = {"metadata": {"name": "a", "namespace": "pay"}, "data": {"a.p12": "MAMCAQM="}}
    asked: list[str] = []

    async def give(head: bytes, writer: asyncio.StreamWriter) -> None:
        target = head.split(b" ", 2)[1].decode()
        asked.append(target)
        opener = secret("pay", "opener", {"password": b"x"})
        writer.write(answer("200 OK", json.dumps(opener).encode() if "/opener" in target else listed(store)))

    with ThreadPoolExecutor(1) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        async with raw_http(give) as server:
            passphrases = [{"secret": "opener", "key": "password"}]
            # A name, so that it has to be resolved; each connection here serves one request.
            named = RawServer(port=server.port, host="localhost")
            it = Following(settings(named, tmp_path, passphrases=passphrases))
            async with asyncio.timeout(25):
                assert await it.scan()
        assert [each for each in asked if "/opener" in each]


@pytest.mark.parametrize(
    "access",
    [
        {"authorization": "Bearer t\u00f6ken"},
        {"proxy": "socks9://x"},
        {"proxy": "http://[::1"},
        {"server": "http://127.0.0.1:99999"},
        {"server": "http://a b"},
    ],
)
async def test_a_way_that_is_none_is_a_failed_request(access: dict[str, Any]) -> None:
    given = {"server": "http://127.0.0.1:9", "tls": None, **access}
    async with Client("prod", lambda: Access(**given)) as client:
        with pytest.raises(RequestFailed) as failed:
            await client.get("/api/v1/namespaces/pay/secrets/web")
        assert failed.value.is_unreachable
        assert failed.value.message.isprintable()
        assert "ken" not in failed.value.message
