"""A web server in the test's own loop: whole requests to a function of the test, kept for looking at."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.connections import served_connections


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

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await _request(reader)
            server.requests.append(request)
            status, body = await handler(request)
            head = f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\nContent-Type: application/json"
            writer.write(head.encode() + b"\r\n\r\n" + body)
            await writer.drain()
            async with server.answered:
                server.answered.notify_all()

    async with served_connections(serve, limit=1 << 20) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server


async def _request(reader: asyncio.StreamReader) -> Request:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    method, target, _ = first.split(" ")
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method=method, target=target, headers=headers, body=body)
