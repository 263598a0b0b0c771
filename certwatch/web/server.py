"""The HTTP port: bound by us, so that what is wrong with it is said in plain words; served by uvicorn."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any, cast

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Connections at once; more are answered 503 by uvicorn. Prometheus keeps one to each target of /probe for a while.
MAX_CONNECTIONS = 4096
BACKLOG = 1024
#: At the end, for answers under way.
STOP_SECONDS = 1


class PortError(Exception):
    """The address cannot be listened on. The message says which, why, and what to do."""


def bind(address: str) -> socket.socket:
    """A listening socket on "host:port", "[v6]:port" or ":port" (every address). Port 0: any. Raises PortError."""
    host, port = split(address)
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise PortError(f"listen {address}: {error.strerror}. Name an address of this host") from error
    # Every address of both families by one socket, where there is IPv6.
    family, _, _, _, where = max(found, key=lambda each: not host and each[0] == socket.AF_INET6)
    try:
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise PortError(f"listen {address}: {error.strerror}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if host else 0)
        bound.bind(where)
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise PortError(f"listen {address}: {_why(error)}") from error
    return bound


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there already. Stop that one, or give the exporter another address (listen:)"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "this user may not. Use a port above 1023, or grant CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this host has no such address. Name one that it has, or 0.0.0.0"
    return error.strerror or str(error)


def split(address: str) -> tuple[str, int]:
    """Host without brackets, and port. Raises PortError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535 or (":" in host and not host.startswith("[")):
        raise PortError(f"listen {address}: not host:port. Write 127.0.0.1:9719 or [::1]:9719")
    return host.strip("[]"), int(port)


def is_loopback(address: str) -> bool:
    """Nobody but this host reaches it. Raises PortError."""
    host, _ = split(address)
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url_of(bound: socket.socket, scheme: str = "http") -> str:
    host, port = bound.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "localhost"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class _Uvicorn(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the daemon's."""
        yield


class _Joined:
    """A transport that writes what belongs together at once: an answer's head and body are one packet, and one call of
    the system, not two."""

    __slots__ = ("_loop", "_parts", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts:
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class HTTPProtocol(HttpToolsProtocol):
    """What speaks HTTP/1.1 on one connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(_Joined(cast("asyncio.Transport", transport), self.loop))  # type: ignore[arg-type]


class _WithClientCertificate(HTTPProtocol):
    """Tells the application who the TLS client is: `scope["state"]["client_certificate"]`, DER; absent: it has none."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = transport.get_extra_info("ssl_object")
        presented = connection.getpeercert(binary_form=True) if connection is not None else None
        if presented is not None:
            self.app_state = {**self.app_state, "client_certificate": presented}
        super().connection_made(transport)


class HTTPServer:
    """One listening port. Its application can be exchanged while it serves. With `tls` it speaks HTTPS."""

    def __init__(
        self,
        bound: socket.socket,
        app: ASGIApp | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        protocol: type[HTTPProtocol] | None = None,
        connections: int = MAX_CONNECTIONS,
    ) -> None:
        """`protocol`: what speaks HTTP on a connection, in place of what is usual with `tls` or without."""
        self.app: ASGIApp = app or PlainTextResponse("starting\n", 503)
        #: Where a browser on this machine finds it.
        self.url = url_of(bound, "http" if tls is None else "https")
        self._socket = bound
        self._server = _Uvicorn(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                ws="none",
                # What a proxy claims of the client decides nothing here: /-/reload asks who the peer is.
                proxy_headers=False,
                server_header=False,
                limit_concurrency=connections,
                http=protocol or (HTTPProtocol if tls is None else _WithClientCertificate),
                ssl_context_factory=None if tls is None else lambda config, default: tls,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    def same_socket(self) -> socket.socket:
        """For a server that takes this one's place: connections wait at the port meanwhile."""
        return self._socket.dup()

    def start(self) -> None:
        """May be called twice."""
        if self._task is not None:
            return
        self._task = asyncio.create_task(self._server.serve([self._socket]))

    async def stop(self) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()
