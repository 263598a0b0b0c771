"""Targets that stand in Prometheus' lists, in files and at URLs."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from certwatch.model.observation import Gone, Incomplete, Observation
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import FakeClock, collect
from certwatch.telemetry.metrics import REGISTRY
from collectors.tls import TLSCollector, TLSConfig
from collectors.tls.sources import groups
from tests.collectors.test_tls import ISSUED, Collector, tls  # noqa: F401 - a fixture
from tests.support.servers import free_port
from tests.support.web_server import Request, web_server

pytestmark = pytest.mark.anyio


def texts(data: bytes, *, trusted: bool = True) -> list[str]:
    return [each.text for each in groups.read(data, trusted=trusted).targets]


def test_lists_are_read_as_prometheus_reads_them() -> None:
    as_json = b'[{"targets": ["a.example:443", "https://b.example/login?x=1", "http://plain.example"], "labels": {"team": "web", "__meta_x": "1", "n": 3}}]'
    as_yaml = b"""
- targets: ['a.example:443', 'https://b.example/login?x=1', 'http://plain.example']
  labels: {team: web, __meta_x: '1', n: 3}
"""
    for data in (as_json, as_yaml):
        listed = groups.read(data, trusted=True)
        assert [each.text for each in listed.targets] == ["a.example:443", "b.example"]
        assert dict(listed.targets[0].labels) == {"team": "web", "n": "3"}
        assert listed.refused == 0


def test_one_bad_entry_does_not_cost_the_others() -> None:
    listed = groups.read(b'[{"targets": ["a b", 7, "c.example:443"]}, {"labels": {}}, "x"]', trusted=True)
    assert [each.text for each in listed.targets] == ["c.example:443"]
    assert listed.refused == 4
    assert "'a b'" in listed.example


def test_who_writes_a_list_at_a_url_cannot_make_us_walk_networks() -> None:
    data = b'[{"targets": ["10.0.0.0/8:443", "h:1-65535", "listening", "a.example:443"]}]'
    assert texts(data, trusted=False) == ["a.example:443"]
    assert texts(data) == ["10.0.0.0/8:443", "h:1-65535", "a.example:443"]


@pytest.mark.parametrize("data", [b"{}", b"[", b"a: b: c", b"\xff", b"", b"&a [*a"])
def test_what_is_no_list_is_refused(data: bytes) -> None:
    with pytest.raises(groups.NotAList):
        groups.read(data, trusted=True)


def test_aliases_cannot_blow_up_what_is_said() -> None:
    bomb = "- &a0 [x, x]\n" + "".join(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    listed = groups.read((bomb + "- targets: [*a11, ok.example]\n").encode(), trusted=True)
    assert [each.text for each in listed.targets] == ["ok.example"]
    assert len(listed.example) < 100


def test_a_list_at_a_url_is_json() -> None:
    with pytest.raises(groups.NotAList, match="not JSON"):
        groups.read(b"- targets: [a.example]", trusted=False)


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["targets", "labels", "x"]), inner, max_size=3),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_list_breaks_it(data: bytes) -> None:
    try:
        groups.read(data, trusted=True)
    except groups.NotAList:
        pass


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "name targets, or where they stand"),
        ({"http_sd": ["ftp://x"]}, "only http:// and https://"),
        ({"dns": [{}]}, "name either names to look up or a zone to transfer"),
        ({"dns": [{"names": ["a"], "zone": "b"}]}, "name either names to look up or a zone"),
        ({"dns": [{"names": ["a"], "server": "x:y"}]}, "not a name server"),
        ({"dns": [{"names": ["a"], "protocol": "gopher"}]}, "unknown protocol 'gopher'"),
        ({"dns": [{"names": ["a"], "ports": "0"}]}, "ports are 1 to 65535"),
    ],
)
def test_what_is_wrong_with_the_keys_is_said(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TLSConfig.model_validate(config)


async def serve(tls: Any) -> tuple[asyncio.Server, int]:  # noqa: F811
    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(attend, "127.0.0.1", 0, ssl=tls)
    return server, server.sockets[0].getsockname()[1]


def seen(results: list[Any]) -> dict[str, dict[str, str]]:
    """Labels by location, of what showed its certificate."""
    return {
        str(each.location): dict(each.labels)
        for each in results
        if isinstance(each, Observation) and each.chain == ISSUED.chain_der
    }


def incomplete(results: list[Any]) -> list[Incomplete]:
    return [each for each in results if isinstance(each, Incomplete)]


def metric(name: str, source: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"collector": "test", "source": source})


async def test_lists_in_files_are_looked_at_with_their_labels(tmp_path: Path, tls: Any) -> None:  # noqa: F811
    server, port = await serve(tls)
    closed = free_port()
    (tmp_path / "one.json").write_text(
        json.dumps([{"targets": [f"127.0.0.1:{port}", f"127.0.0.1:{closed}"], "labels": {"team": "web"}}])
    )
    (tmp_path / "two.yml").write_text(f"- targets: ['one.example:{port}']\n  labels: {{env: prod}}\n")
    async with server:
        results = await collect(Collector, {"file_sd": [f"{tmp_path}/*.json", f"{tmp_path}/two.yml"]})
    assert seen(results) == {
        f"tls://127.0.0.1:{port}/": {"team": "web"},
        f"tls://127.0.0.1:{port}/?sni=one.example": {"env": "prod"},
    }
    assert incomplete(results) == []
    assert (metric("certwatch_targets", "file_sd"), metric("certwatch_targets_seen", "file_sd")) == (3, 2)


async def test_a_list_that_is_broken_keeps_what_it_said_and_retires_nothing(tmp_path: Path, tls: Any) -> None:  # noqa: F811
    server, port = await serve(tls)
    path = tmp_path / "list.json"
    collector = Collector(
        "test", TLSConfig(file_sd=[str(path)], timeout=5), CollectorContext(clock=FakeClock())
    )

    async def scan() -> list[Any]:
        return [each async for each in collector.collect()]

    async with server:
        # Never read: nobody knows what belongs to it.
        first = await scan()
        assert [each.scope for each in incomplete(first)] == [""]
        path.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}"]}]))
        assert len(seen(await scan())) == 1
        path.write_text("[{")
        broken = await scan()
        assert len(seen(broken)) == 1
        (told,) = incomplete(broken)
        assert told.scope == f"file_sd {path}"
        assert "neither JSON nor YAML" in told.error.message
        path.write_text("[]")
        assert await scan() == []


async def test_a_pattern_that_matches_nothing_is_no_fault_and_a_missing_folder_is(tmp_path: Path) -> None:
    assert await collect(TLSCollector, {"file_sd": [f"{tmp_path}/*.json"]}) == []
    (told,) = incomplete(await collect(TLSCollector, {"file_sd": [f"{tmp_path}/gone/*.json"]}))
    assert (told.scope, told.error.kind) == ("", "not-found")


async def test_a_changed_list_is_followed(tmp_path: Path, tls: Any) -> None:  # noqa: F811
    server, port = await serve(tls)
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}"]}]))
    collector = Collector(
        "test", TLSConfig(file_sd=[str(path)], timeout=5), CollectorContext(clock=FakeClock())
    )
    said: list[Any] = []
    arrived = asyncio.Event()

    async def listen() -> None:
        stream = cast("AsyncGenerator[Observation | Gone, None]", collector.follow())
        async with aclosing(stream):
            async for each in stream:
                said.append(each)
                arrived.set()

    async with server:
        assert len(seen([each async for each in collector.collect()])) == 1
        following = asyncio.create_task(listen())
        try:
            async with asyncio.timeout(15):
                # Written again until the watch has begun: only what changes after that is told.
                while not said:
                    path.write_text(json.dumps([{"targets": [f"127.0.0.2:{port}", f"one.example:{port}"]}]))
                    try:
                        async with asyncio.timeout(1):
                            await arrived.wait()
                    except TimeoutError:
                        pass
                while not any(isinstance(each, Gone) for each in said):
                    arrived.clear()
                    await arrived.wait()
        finally:
            following.cancel()
            await asyncio.wait([following])
    assert f"tls://127.0.0.1:{port}/?sni=one.example" in seen(said)
    assert [each.location for each in said if isinstance(each, Gone)] == [f"tls://127.0.0.1:{port}/"]


async def test_a_list_at_a_url_is_fetched_as_prometheus_fetches_it(tls: Any) -> None:  # noqa: F811
    server, port = await serve(tls)

    async def answer(request: Request) -> tuple[int, bytes]:
        if request.headers.get("authorization") != "Basic YWxpY2U6c2VzYW1l":
            return 401, b""
        return 200, json.dumps([{"targets": [f"127.0.0.1:{port}"], "labels": {"team": "db"}}]).encode()

    async with server, web_server(answer) as web:
        source = {"url": f"{web.url}/targets", "username": "alice", "password": "sesame"}
        results = await collect(Collector, {"http_sd": [source]})
        assert seen(results) == {f"tls://127.0.0.1:{port}/": {"team": "db"}}
        assert web.requests[0].headers["accept"] == "application/json"
        (told,) = incomplete(await collect(Collector, {"http_sd": [f"{web.url}/targets"]}))
        assert (told.scope, told.error.kind) == ("", "permission")
    assert metric("certwatch_targets", "http_sd") == 0


def test_a_list_of_a_hundred_thousand_levels_is_refused() -> None:
    for text in (b"[" * 100_000 + b"]" * 100_000, b"- " * 100_000):
        with pytest.raises(groups.NotAList, match="nested deeper than 64 levels"):
            groups.read(text, trusted=True)
