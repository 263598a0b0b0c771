"""A web server that answers with whatever bytes a test gives it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawServer:
    port: int = 0
    host: str = "127.0.0.1"
    #: Heads of the requests that came.
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def always(data: bytes) -> Answer:
    async def give(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return give


@asynccontextmanager
async def raw_http(give: Answer) -> AsyncIterator[RawServer]:
    """On loopback, one request a connection."""
    server = RawServer()
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            # Cancelled at the end: asyncio's own callback of such a task would complain. RuntimeError: uvloop's word for a client that has
            # gone.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError, RuntimeError):
                head = await reader.readuntil(b"\r\n\r\n")
                server.requests.append(head)
                await give(head, writer)
        finally:
            tasks.discard(task)
            with suppress(OSError, RuntimeError):
                writer.close()
                await writer.wait_closed()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listening.wait_closed()
