"""The TLS collector as a whole, against servers in this process."""

import asyncio
import resource
import ssl
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from certwatch.doors.dns import Family
from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import EPOCH, FakeClock, collect, make_ca, make_certificate
from collectors.tls import TLSCollector
from tests.support.servers import free_port

pytestmark = pytest.mark.anyio

NAMES: dict[str, Sequence[str]] = {
    "one.example": ["127.0.0.1"],
    "three.example": ["127.0.0.1", "127.0.0.2", "127.0.0.3"],
}


class Collector(TLSCollector):
    """With names of our own on the far side of the door to DNS."""

    def lookup(self, name: str, family: Family) -> Sequence[str]:
        if name not in NAMES:
            raise OSError(f"no {name}")
        return NAMES[name]


ISSUED = make_certificate(issuer=make_ca("Test Intermediate", issuer=make_ca(), key_number=101))


@pytest.fixture(scope="module")
def tls() -> Iterator[ssl.SSLContext]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "server.pem"
        path.write_bytes(ISSUED.key_pem + ISSUED.chain_pem)
        context.load_cert_chain(path)
    yield context


class Counter:
    """How many connections are open, and were at most."""

    def __init__(self) -> None:
        self.open = self.most = self.all = 0
        self.changed = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.all += 1
        self.most = max(self.most, self.open)
        self.changed.set()
        self._writers.append(writer)
        try:
            while await reader.read(65536):
                pass
        except (OSError, ssl.SSLError):
            pass
        finally:
            self.open -= 1
            self.changed.set()
            writer.close()

    def let_go(self) -> None:
        """Close every connection from this side."""
        for writer in self._writers:
            writer.close()

    async def reaches(self, number: int) -> None:
        async with asyncio.timeout(5):
            while self.open != number:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def server(
    counter: Counter, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """With a context it speaks TLS; without one it reads for ever and says nothing: a tarpit."""
    listening = await asyncio.start_server(counter.attend, host, 0, ssl=context, backlog=1000)
    try:
        yield int(listening.sockets[0].getsockname()[1])
    finally:
        listening.close()
        await listening.wait_closed()
        await counter.reaches(0)


def observations(results: Sequence[Observation | Incomplete]) -> list[Observation]:
    return [each for each in results if isinstance(each, Observation)]


async def test_an_endpoint_is_seen_whole(tls: ssl.SSLContext) -> None:
    async with server(Counter(), tls) as port:
        (seen,) = observations(await collect(Collector, {"targets": [f"one.example:{port}"]}))
    assert seen.location == f"tls://127.0.0.1:{port}/?sni=one.example"
    assert seen.observed_at == EPOCH
    assert seen.chain == ISSUED.chain_der
    assert seen.error is None
    assert seen.scope == f"one.example:{port}"
    assert seen.facts["tls_version"] == "TLSv1.3"
    assert seen.facts["ocsp_stapled"] is False
    for fact in ("dns_seconds", "connect_seconds", "handshake_seconds"):
        measured = seen.facts[fact]
        assert isinstance(measured, float)
        assert 0 <= measured < 5


async def test_every_address_of_a_name_is_its_own_location(tls: ssl.SSLContext) -> None:
    async with server(Counter(), tls, "0.0.0.0") as port:  # noqa: S104
        seen = observations(await collect(Collector, {"targets": [f"three.example:{port}"]}))
    assert {each.location for each in seen} == {
        f"tls://127.0.0.{number}:{port}/?sni=three.example" for number in (1, 2, 3)
    }
    assert all(each.chain for each in seen)


async def test_a_name_that_does_not_resolve_keeps_what_is_known_of_it() -> None:
    results = await collect(Collector, {"targets": ["gone.example:443,8443", "gone.example"]})
    errors = {each.location: each.error.kind for each in observations(results) if each.error}
    assert errors == {
        "tls://gone.example:443/?sni=gone.example": "dns",
        "tls://gone.example:8443/?sni=gone.example": "dns",
    }
    incomplete = [each for each in results if isinstance(each, Incomplete)]
    assert [(each.scope, each.error.kind) for each in incomplete] == [("gone.example:443,8443", "dns")]


async def test_an_endpoint_named_twice_is_looked_at_once(tls: ssl.SSLContext) -> None:
    counter = Counter()
    async with server(counter, tls) as port:
        targets = [f"127.0.0.1:{port}", f"127.0.0.0/30:{port}", f"tls://127.0.0.1:{port}/"]
        seen = observations(await collect(Collector, {"targets": targets, "exclude": ["127.0.0.2/31"]}))
    assert sorted(each.location for each in seen) == [f"tls://127.0.0.0:{port}/", f"tls://127.0.0.1:{port}/"]
    assert counter.all == 1


async def test_nothing_excluded_is_connected_to() -> None:
    counter = Counter()
    async with server(counter, host="0.0.0.0") as port:  # noqa: S104
        config = {
            "targets": [f"three.example:{port}", f"127.0.0.2:{port}", f"one.example:{port}"],
            "exclude": ["127.0.0.0/8", "one.example"],
        }
        assert await collect(Collector, config) == []
    assert counter.all == 0


async def test_the_configured_server_name_is_asked_for_everywhere(tls: ssl.SSLContext) -> None:
    asked: list[str | None] = []
    tls.sni_callback = lambda _, name, __: asked.append(name)
    try:
        async with server(Counter(), tls) as port:
            config = {
                "targets": [f"127.0.0.1:{port}", f"tls://127.0.0.1:{port}/?sni=own.example"],
                "server_name": "WWW.example.com",
            }
            await collect(Collector, config)
    finally:
        tls.sni_callback = None
    assert sorted(map(str, asked)) == ["own.example", "www.example.com"]


async def test_slow_ones_delay_nothing_and_looks_at_once_are_bounded(tls: ssl.SSLContext) -> None:
    fast, slow = Counter(), Counter()
    async with server(fast, tls, "0.0.0.0") as port, server(slow, host="0.0.0.0") as pit:  # noqa: S104
        # Ten tarpits first: they hold ten of twelve places until all others have been seen.
        targets = [f"127.1.0.{number}:{pit}" for number in range(10)] + [f"127.2.0.0/27:{port}"]
        collector = Collector(
            "test",
            Collector.Config.model_validate({"targets": targets, "concurrency": 12, "timeout": 60}),
            CollectorContext(clock=FakeClock()),
        )
        order: list[str] = []
        async for each in collector.collect():
            assert isinstance(each, Observation)
            order.append(each.error.kind if each.error else "seen")
            if len(order) == 32:
                slow.let_go()
    assert order == ["seen"] * 32 + ["reset"] * 10
    assert slow.most == 10
    assert fast.most <= 12


async def test_many_dead_addresses_cost_their_time_limit_together() -> None:
    port = free_port()
    seen: list[tuple[int, int | None]] = []
    collector = Collector(
        "test",
        Collector.Config.model_validate({"targets": [f"127.3.0.0/25:{port}"]}),
        CollectorContext(clock=FakeClock(), progress=lambda done, total: seen.append((done, total))),
    )
    kinds = {
        each.error.kind
        async for each in collector.collect()
        if isinstance(each, Observation) and each.error is not None
    }
    assert kinds == {"refused"}
    assert seen == [(number, 128) for number in range(1, 129)]


async def test_closing_early_lets_go_of_every_socket_at_once() -> None:
    counter = Counter()
    async with server(counter, host="0.0.0.0") as pit:  # noqa: S104
        config = {
            "targets": [f"127.4.0.0/26:{pit}", f"127.0.0.1:{free_port()}"],
            "concurrency": 300,
            "timeout": 60,
        }
        collector = Collector(
            "test", Collector.Config.model_validate(config), CollectorContext(clock=FakeClock())
        )
        stream = cast("AsyncGenerator[Observation | Incomplete, None]", collector.collect())
        async with aclosing(stream):
            # The refused one comes; 64 connections stand.
            assert (await anext(stream)).error is not None
            await counter.reaches(64)
        async with asyncio.timeout(1):
            await counter.reaches(0)
        # It may be called again.
        stream = cast("AsyncGenerator[Observation | Incomplete, None]", collector.collect())
        assert (await anext(stream)).error is not None
        await stream.aclose()


async def test_cancelling_the_consumer_lets_go_of_every_socket() -> None:
    counter = Counter()
    async with server(counter) as pit:
        task = asyncio.create_task(collect(Collector, {"targets": [f"127.0.0.1:{pit}"], "timeout": 60}))
        await counter.reaches(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        async with asyncio.timeout(1):
            await counter.reaches(0)


async def test_what_is_not_seen_in_the_whole_time_is_incomplete(tls: ssl.SSLContext) -> None:
    async with server(Counter(), tls) as port, server(Counter(), host="0.0.0.0") as pit:  # noqa: S104
        targets = [
            f"127.0.0.1:{port}",
            f"127.0.0.2:{pit}",
            f"127.0.0.3:{pit}",
            f"127.5.0.0/24:{pit}",
            "a.example",
        ]
        results = await collect(
            Collector, {"targets": targets, "concurrency": 2, "timeout": 60, "total_timeout": 0.3}
        )
    assert [each.scope for each in observations(results)] == targets[:1]
    incomplete = [each for each in results if isinstance(each, Incomplete)]
    # Networks come last.
    assert [each.scope for each in incomplete] == [targets[1], targets[2], targets[4], targets[3]]
    assert {each.error.kind for each in incomplete} == {"timeout"}


async def test_new_connections_keep_to_the_rate() -> None:
    begun = asyncio.get_running_loop().time()
    await collect(Collector, {"targets": [f"127.6.0.0/28:{free_port()}"], "rate": 100})
    # Ten at once, six at the rate.
    assert asyncio.get_running_loop().time() - begun >= 0.055


async def test_results_that_nobody_takes_hold_the_scan_up() -> None:
    looked = 0
    full = asyncio.Event()

    def progress(done: int, total: int | None) -> None:
        nonlocal looked
        looked = done
        if done >= 1000:
            full.set()

    collector = Collector(
        "test",
        Collector.Config.model_validate({"targets": [f"127.7.0.0/20:{free_port()}"], "concurrency": 10}),
        CollectorContext(clock=FakeClock(), progress=progress),
    )
    stream = cast("AsyncGenerator[Observation | Incomplete, None]", collector.collect())
    async with aclosing(stream):
        await anext(stream)
        await full.wait()
        for _ in range(500):
            await asyncio.sleep(0)
        # A batch that was taken, a thousand that wait, ten under way.
        assert looked < 1100


async def test_a_low_limit_of_open_files_lowers_what_goes_on_at_once(tls: ssl.SSLContext) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (160, hard))
    try:
        seen = observations(
            await collect(Collector, {"targets": [f"127.8.0.0/24:{free_port()}"], "concurrency": 5000})
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {each.error.kind for each in seen if each.error} == {"refused"}


def test_a_config_of_another_kind_is_refused() -> None:
    other: Any = object()
    with pytest.raises(TypeError, match="not TLSConfig"):
        TLSCollector("test", other, CollectorContext(clock=FakeClock()))
