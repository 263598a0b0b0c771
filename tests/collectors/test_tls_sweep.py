"""`sweep`: the certificate in the clear and away; whole handshakes only where there is no other way."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from certwatch.doors.swarm import AVAILABLE, Swarm
from certwatch.doors.tls import Look, Peer
from certwatch.model.observation import Observation
from certwatch.plugins.testing import collect
from collectors.tls import TLSCollector
from tests.doors.test_glance import ISSUED, context
from tests.support.far_sides import NewsServer, listening
from tests.support.servers import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(not AVAILABLE, reason="epoll is Linux'")]

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if tls is not None:
                await shake(reader, writer, tls)
            await serve(reader, writer)
        except (OSError, ssl.SSLError):
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(attend, "127.0.0.1", 0)
    async with running:
        yield int(running.sockets[0].getsockname()[1])


async def shake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tls: ssl.SSLContext) -> None:
    """A server's handshake. By hand, since asyncio reports one that is broken off as a fault of the program."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = tls.wrap_bio(incoming, outgoing, server_side=True)
    while True:
        try:
            server_side.do_handshake()
            return
        except ssl.SSLWantReadError:
            pass
        finally:
            writer.write(outgoing.read())
        data = await reader.read(65536)
        if not data:
            raise ConnectionResetError("the client left amid the handshake")
        incoming.write(data)


async def until_left(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


async def swept(*targets: str, **config: Any) -> list[Observation]:
    said = await collect(TLSCollector, {"targets": list(targets), "sweep": True} | config)
    return [each for each in said if isinstance(each, Observation)]


async def test_the_certificate_is_read_in_the_clear_and_no_handshake_is_made() -> None:
    shaken: list[bool] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shaken.append(True)

    async with server(note, context()) as port:
        (seen,) = await swept(f"127.0.0.1:{port}", server_name="www.example.com")
    assert seen.chain == ISSUED.chain_der
    assert seen.error is None
    assert seen.location == f"tls://127.0.0.1:{port}/?sni=www.example.com"
    assert seen.facts["swept"] is True
    assert seen.facts["tls_version"] == "TLSv1.2"
    # What was not looked for is not said.
    assert {"handshake_seconds", "ocsp_stapled", "client_certificate_requested"} & set(seen.facts) == set()
    for fact in ("connect_seconds", "certificate_seconds"):
        assert isinstance(seen.facts[fact], float)
    assert shaken == []


async def test_where_tls_1_3_alone_is_spoken_a_handshake_is_made() -> None:
    async with server(until_left, context(ssl.TLSVersion.TLSv1_3)) as port:
        (seen,) = await swept(f"127.0.0.1:{port}", rate=100)
    assert seen.chain == ISSUED.chain_der
    assert seen.facts["tls_version"] == "TLSv1.3"
    assert "swept" not in seen.facts
    assert isinstance(seen.facts["handshake_seconds"], float)


async def test_behind_starttls_it_is_read_in_the_clear_as_well() -> None:
    async with listening(NewsServer(ISSUED)) as port:
        (seen,) = await swept(f"127.0.0.1:{port}/nntp")
    assert seen.chain == ISSUED.chain_der
    assert seen.facts["swept"] is True
    assert isinstance(seen.facts["starttls_seconds"], float)


async def test_the_errors_are_those_of_whole_handshakes() -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\x15\x03\x03\x00\x02\x02\x70")

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)

    async with server(http) as a, server(alert) as b, server(close) as c, server(until_left) as d:
        seen = await swept(
            *(f"127.0.0.1:{port}" for port in (a, b, c, d, free_port())), "255.255.255.255:443", timeout=0.4
        )
    kinds = {str(each.location): each.error.kind for each in seen if each.error is not None}
    assert [kinds[f"tls://127.0.0.1:{port}/"] for port in (a, b, c, d)] == [
        "not-tls",
        "tls-alert",
        "reset",
        "timeout",
    ]
    assert sorted(kinds.values()) == ["not-tls", "refused", "reset", "timeout", "tls-alert", "unreachable"]
    assert all(each.error is not None and each.error.message.isprintable() for each in seen)


@asynccontextmanager
async def swarm(time_limit: float = 5, max_bytes: int = 65536) -> AsyncIterator[Swarm]:
    made = Swarm(time_limit=time_limit, max_bytes=max_bytes)
    try:
        yield made
    finally:
        made.close()


def kind(seen: Look) -> str | None:
    return seen.error.kind if seen.error is not None else None


async def test_tarpits_and_the_silent_cost_their_time_limit_each_from_its_own_beginning() -> None:
    async with server(until_left) as pit, swarm(time_limit=0.3) as many:
        peer = Peer(address="127.0.0.1", port=pit)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        first = asyncio.create_task(many.look(peer))
        await asyncio.sleep(0.15)
        second = asyncio.create_task(many.look(peer))
        assert kind(await first) == "timeout"
        assert loop.time() - begun >= 0.29
        seen = await second
        assert loop.time() - begun >= 0.44
    assert kind(seen) == "timeout"
    assert seen.error is not None
    assert "TLS handshake" in seen.error.message
    assert "connect_seconds" in seen.facts


async def test_a_connection_that_nobody_answers_is_told_as_such() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        async with swarm(time_limit=0.3) as many:
            looks = await asyncio.gather(*(many.look(Peer(address="127.0.0.1", port=port)) for _ in range(5)))
    assert {kind(each) for each in looks} == {"timeout"}
    assert any("no answer to the connection" in each.error.message for each in looks if each.error)


async def test_a_flood_is_cut_at_max_bytes() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A handshake message that does not end, in records that come for ever.
        writer.write(b"\x16\x03\x03\x00\x04\x02\xff\xff\xff")
        while True:
            writer.write(b"\x16\x03\x03\x01\x00" + bytes(256))
            await writer.drain()

    async with server(flood) as port, swarm(max_bytes=8192) as many:
        assert kind(await many.look(Peer(address="127.0.0.1", port=port))) == "malformed"


async def test_a_reset_is_a_reset() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )

    async with server(reset) as port, swarm() as many:
        assert kind(await many.look(Peer(address="127.0.0.1", port=port))) == "reset"


async def test_cancelling_closes_the_connection_at_once() -> None:
    here, gone = asyncio.Event(), asyncio.Event()

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            here.set()
        gone.set()

    async with server(watch) as port, swarm() as many:
        task = asyncio.create_task(many.look(Peer(address="127.0.0.1", port=port)))
        await asyncio.wait_for(here.wait(), 5)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_swarm_that_is_closed_lets_go_of_all() -> None:
    async with server(until_left) as port, swarm() as many:
        task = asyncio.create_task(many.look(Peer(address="127.0.0.1", port=port)))
        await asyncio.sleep(0)
        many.close()
        await asyncio.wait([task])
        assert task.cancelled()
        many.close()


async def test_a_thousand_dead_addresses_are_swept_and_counted() -> None:
    seen = await swept(f"127.9.0.0/22:{free_port()}", concurrency=100)
    assert len(seen) == 1024
    assert {kind for each in seen if each.error for kind in [each.error.kind]} == {"refused"}
