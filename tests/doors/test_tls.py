"""One look, against every nastiness that a server has in store. Each costs its time limit at most."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing

import pytest

from certwatch.doors.dialogue import Dialogue, Send
from certwatch.doors.tls import Client, Look, Peer, look
from tests.support.servers import free_port

pytestmark = pytest.mark.anyio

CLIENT = Client()
LIMIT = 0.15

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[int]:
    """A server on a free port that treats every connection by `serve`, and closes it after."""

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(attend, "127.0.0.1", 0)
    try:
        yield int(listening.sockets[0].getsockname()[1])
    finally:
        listening.close()
        await listening.wait_closed()


async def at(port: int, **changes: object) -> Look:
    options: dict[str, object] = {"time_limit": LIMIT, "max_bytes": 65536} | changes
    return await look(
        CLIENT,
        Peer(address="127.0.0.1", port=port, opening=options.get("opening")),  # type: ignore[arg-type]
        time_limit=options["time_limit"],  # type: ignore[arg-type]
        max_bytes=options["max_bytes"],  # type: ignore[arg-type]
    )


def kind(seen: Look) -> str:
    assert seen.error is not None
    assert seen.error.message.startswith("127.0.0.1:")
    assert seen.error.message.isprintable()
    return seen.error.kind


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads and never answers, until the other side leaves."""
    while await reader.read(65536):
        pass


async def test_a_tarpit_costs_its_time_limit() -> None:
    begun = asyncio.get_running_loop().time()
    async with server(silent) as port:
        seen = await at(port)
    assert kind(seen) == "timeout"
    assert seen.error is not None
    assert "TLS handshake" in seen.error.message
    assert LIMIT <= asyncio.get_running_loop().time() - begun + 0.01 < LIMIT + 1
    assert "connect_seconds" in seen.facts


async def test_a_dripping_server_costs_its_time_limit() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # One byte each time the other side had time to take the one before.
        for byte in b"\x16\x03\x03\x40\x00\x02\x00\x00\x46\x03\x03" + bytes(200):
            writer.write(bytes([byte]))
            await writer.drain()
            try:
                await asyncio.wait_for(reader.read(65536), 0.01)
            except TimeoutError:
                continue

    async with server(drip) as port:
        assert kind(await at(port)) == "timeout"


async def test_garbage_is_not_tls() -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(range(256)) * 100)

    async with server(garbage) as port:
        assert kind(await at(port)) == "not-tls"


async def test_http_on_the_port_is_told() -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with server(http) as port:
        seen = await at(port)
    assert kind(seen) == "not-tls"
    assert seen.error is not None
    assert "HTTP" in seen.error.message


async def test_a_flood_is_cut_at_max_bytes() -> None:
    taken = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        # Empty TLS 1.2 warning alerts (user_canceled), which a client may ignore for ever.
        record = b"\x15\x03\x03\x00\x02\x01\x5a"
        while not writer.is_closing() and taken < 50_000_000:
            writer.write(record * 1000)
            taken += 7000
            await writer.drain()

    async with server(flood) as port:
        assert kind(await at(port)) in ("malformed", "tls-alert")
    assert taken < 50_000_000


async def test_a_long_certificate_message_is_cut_at_max_bytes() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A ServerHello, as far as its head goes, in records that come for ever.
        for number in range(1000):
            head = b"\x02\x00\xff\xff" if number == 0 else b""
            writer.write(b"\x16\x03\x03\x01\x00" + head + bytes(256 - len(head)))
            await writer.drain()

    async with server(endless) as port:
        assert kind(await at(port, max_bytes=4096)) == "malformed"


async def test_an_immediate_close_is_a_reset() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        return

    async with server(leave) as port:
        assert kind(await at(port)) == "reset"


async def test_a_reset_is_a_reset() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )

    async with server(reset) as port:
        assert kind(await at(port)) == "reset"


async def test_an_alert_is_told() -> None:
    async def alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\x15\x03\x03\x00\x02\x02\x70")

    async with server(alert) as port:
        seen = await at(port)
    assert kind(seen) == "tls-alert"
    assert seen.error is not None
    assert "unrecognized name" in seen.error.message


async def test_a_closed_port_is_refused() -> None:
    assert kind(await at(free_port())) == "refused"


async def test_an_address_without_route_is_unreachable() -> None:
    # A unicast connection to the limited broadcast address cannot be (RFC 919, 7).
    seen = await look(CLIENT, Peer(address="255.255.255.255", port=443), time_limit=LIMIT, max_bytes=4096)
    assert seen.error is not None
    assert seen.error.kind == "unreachable"


async def test_an_opening_is_spoken_before_tls_and_timed() -> None:
    def line(buffer: bytes) -> int | None:
        return buffer.find(b"\n") + 1 or None

    def opening(where: str) -> Dialogue:
        yield Send(b"hello\n", line)
        return None

    async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"hello\n"
        writer.write(b"hello yourself\n")
        # The head of a ClientHello.
        assert (await reader.readexactly(3))[:2] == b"\x16\x03"
        writer.write(b"\x15\x03\x03\x00\x02\x02\x28")

    async with server(polite) as port:
        seen = await at(port, opening=opening)
        assert kind(seen) == "tls-alert"
        assert "starttls_seconds" in seen.facts
    async with server(silent) as port:
        seen = await at(port, opening=opening)
        assert kind(seen) == "timeout"
        assert seen.error is not None
        assert "STARTTLS" in seen.error.message


async def test_cancelling_closes_the_connection_at_once() -> None:
    here, gone = asyncio.Event(), asyncio.Event()

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65536):
                here.set()
        finally:
            gone.set()

    async with server(watch) as port:
        task = asyncio.create_task(at(port, time_limit=60))
        await asyncio.wait_for(here.wait(), 5)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.wait_for(gone.wait(), 1)


async def test_a_connection_nobody_answers_costs_its_time_limit() -> None:
    # A full backlog: the kernel answers no further SYN.
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = int(listening.getsockname()[1])
        looks = await asyncio.gather(*(at(port) for _ in range(5)))
    assert {kind(each) for each in looks} == {"timeout"}
    assert any("no answer to the connection" in each.error.message for each in looks if each.error)
