"""A web server in the test's own loop: whole requests to a function of the test, kept for looking at."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Handler = Callable[[Request], Awaitable[tuple[int, bytes]]]


@dataclass
class WebServer:
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    #: Notified when a request has been answered.
    answered: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self.answered:
            await self.answered.wait_for(enough)


@asynccontextmanager
async def web_server(handler: Handler) -> AsyncIterator[WebServer]:
    """On loopback, connections kept alive."""
    server = WebServer()
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            # Cancelled at the end: asyncio's own callback of such a task would complain.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    request = await _request(reader)
                    server.requests.append(request)
                    status, body = await handler(request)
                    head = f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\nContent-Type: application/json"
                    writer.write(head.encode() + b"\r\n\r\n" + body)
                    await writer.drain()
                    async with server.answered:
                        server.answered.notify_all()
        finally:
            tasks.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0, limit=1 << 20)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listening.wait_closed()


async def _request(reader: asyncio.StreamReader) -> Request:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    method, target, _ = first.split(" ")
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method=method, target=target, headers=headers, body=body)
