"""A connection that is spoken over step by step, and servers that lie on it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from certwatch.doors.failure import LookFailed
from certwatch.doors.handshake import Client
from certwatch.doors.stream import Ended, Stream
from certwatch.plugins.testing import make_certificate
from tests.support.servers import free_port

pytestmark = pytest.mark.anyio

ISSUED = make_certificate()

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssl.SSLContext]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path: Path = tmp_path_factory.mktemp("stream") / "server.pem"
    path.write_bytes(ISSUED.key_pem + ISSUED.pem)
    context.load_cert_chain(path)
    yield context


@asynccontextmanager
async def talking(
    talk: Talk, context: ssl.SSLContext | None = None, *, max_bytes: int = 1 << 20
) -> AsyncIterator[Stream]:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    # In debug mode asyncio tells the loop of handshakes that fail, which is what is wanted here.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    server = await asyncio.start_server(served, "127.0.0.1", 0, ssl=context)
    try:
        stream = await Stream.open(
            "127.0.0.1", server.sockets[0].getsockname()[1], "server", max_bytes=max_bytes
        )
        try:
            async with asyncio.timeout(10):
                yield stream
        finally:
            stream.close()
            stream.close()
    finally:
        server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello\r\nyou\n")
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@pytest.mark.parametrize("secure", [False, True])
async def test_what_is_said_comes_back_line_by_line_in_the_clear_and_through_tls(
    secure: bool, tls: ssl.SSLContext
) -> None:
    async with talking(echo, tls if secure else None) as stream:
        if secure:
            handshake = await stream.start_tls(Client(), "www.example.com", alpn=False)
            assert handshake.agreed
            assert handshake.presented().chain == (ISSUED.der,)
            assert stream.handshake_seconds > 0
        assert [await stream.line(100), await stream.line(100)] == [b"hello", b"you"]
        # More than one TLS record, and than one read.
        data = bytes(range(256)) * 400
        stream.write(data)
        back = b""
        while len(back) < len(data):
            back += await stream.some(65536)
        assert back == data


async def test_the_rest_of_a_line_counts_when_the_other_side_has_ended() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"one\ntwo")

    async with talking(half) as stream:
        assert [await stream.line(100), await stream.line(100)] == [b"one", b"two"]
        with pytest.raises(Ended):
            await stream.line(100)
        with pytest.raises(Ended):
            await stream.some(1)


async def test_an_end_that_is_said_through_tls_is_an_end(tls: ssl.SSLContext) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye\n")

    async with talking(leave, tls) as stream:
        await stream.start_tls(Client(), None, alpn=False)
        assert await stream.line(100) == b"bye"
        with pytest.raises(Ended):
            await stream.line(100)


async def test_lines_and_bytes_have_their_limits() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"x" * 1000)
            await writer.drain()

    async with talking(endless) as stream:
        with pytest.raises(LookFailed, match="a line of more than 5000 bytes"):
            await stream.line(5000)
    async with talking(endless, max_bytes=5000) as stream:
        with pytest.raises(LookFailed, match="sent more bytes"):
            await stream.line(1 << 20)


async def test_bytes_in_the_clear_are_never_handed_to_tls() -> None:
    async def eager(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n250 injected\r\n")
        await reader.read(1)

    async with talking(eager) as stream:
        assert await stream.line(100) == b"220 ready"
        with pytest.raises(LookFailed, match="in the clear where TLS begins"):
            await stream.start_tls(Client(), None, alpn=False)


async def test_who_speaks_no_tls_and_who_hangs_up_is_told() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    for talk, kind in ((plain, "not-tls"), (nobody, "reset")):
        async with talking(talk) as stream:
            with pytest.raises(LookFailed) as caught:
                await stream.start_tls(Client(), None, alpn=False)
            assert caught.value.kind == kind


async def test_garbage_after_the_handshake_is_no_data(tls: ssl.SSLContext) -> None:
    """A relay in front of a real TLS server that breaks in once the handshake is over."""
    port = free_port()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        above, below = await asyncio.open_connection("127.0.0.1", port)

        async def down() -> None:
            while data := await above.read(65536):
                writer.write(data)

        task = asyncio.create_task(down())
        # ClientHello, then Finished; then a record of nobody's key.
        for _ in range(2):
            below.write(await reader.read(65536))
        writer.write(b"\x17\x03\x03\x00\x20" + b"\x00" * 32)
        await writer.drain()
        await reader.read(65536)
        task.cancel()
        below.close()

    server = await asyncio.start_server(silent, "127.0.0.1", port, ssl=tls)
    try:
        async with talking(relay) as stream:
            await stream.start_tls(Client(), None, alpn=False)
            with pytest.raises(LookFailed, match="TLS broke off after the handshake"):
                await stream.line(100)
    finally:
        server.close()


async def test_nothing_listens_there() -> None:
    with pytest.raises(LookFailed) as caught:
        await Stream.open("127.0.0.1", free_port(), "nobody", max_bytes=1000)
    assert caught.value.kind == "refused"
    assert caught.value.message.startswith("nobody: ")
