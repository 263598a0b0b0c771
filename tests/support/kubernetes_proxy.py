"""Between a collector and a real API server: passes everything on, but for the faults that a test asks for."""

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from tests.support.kubernetes import TOKEN, APIServer

Wanted = Callable[[str, Mapping[str, str]], bool]


def lists(resource: str, *, further_pages: bool = False) -> Wanted:
    def wanted(path: str, headers: Mapping[str, str]) -> bool:
        parts = urlsplit(path)
        return (
            parts.path.endswith(f"/{resource}")
            and "watch=1" not in parts.query
            and ("continue=" in parts.query) is further_pages
        )

    return wanted


def watches(resource: str) -> Wanted:
    return lambda path, headers: urlsplit(path).path.endswith(f"/{resource}") and "watch=1" in path


@dataclass
class Fault:
    """What happens to the next `times` requests that are `wanted`, in place of the server's answer or to it."""

    wanted: Wanted
    times: int = 1
    #: The answer is this status, with a body as the API writes it. 0: the server's own.
    status: int = 0
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    #: A watch says this as its first event. None: the server's own.
    event: object = None
    #: The connection is cut after so many bytes of the body. None: it is not.
    cut_after: int | None = None


@dataclass(kw_only=True)
class Proxy:
    server: APIServer
    port: int
    faults: list[Fault] = field(default_factory=list)
    #: Every request's path, in order.
    asked: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: set[socket.socket] = field(default_factory=set)

    def kubeconfig(self, folder: Path, *, token: str = TOKEN, token_file: Path | None = None) -> Path:
        user = {"tokenFile": str(token_file)} if token_file is not None else {"token": token}
        path = folder / "kubeconfig-proxied.yaml"
        path.write_text(
            yaml.safe_dump(
                {
                    "current-context": "prod",
                    "contexts": [{"name": "prod", "context": {"cluster": "prod", "user": "me"}}],
                    "clusters": [{"name": "prod", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
                    "users": [{"name": "me", "user": user}],
                }
            )
        )
        return path

    def cut_all(self) -> None:
        """Every connection that is open now."""
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def count(self, wanted: Wanted) -> int:
        with self._lock:
            return sum(wanted(path, {}) for path in self.asked)

    def take(self, path: str, headers: Mapping[str, str]) -> Fault | None:
        with self._lock:
            self.asked.append(path)
            for each in self.faults:
                if each.times > 0 and each.wanted(path, headers):
                    each.times -= 1
                    return each
        return None

    @contextmanager
    def held(self, connection: socket.socket) -> Iterator[None]:
        with self._lock:
            self._open.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

        def handle(self) -> None:
            with proxy.held(self.connection), suppress(OSError):
                super().handle()

        def do_GET(self) -> None:
            fault = proxy.take(self.path, dict(self.headers))
            if fault is not None and fault.status:
                self._refuse(fault)
            elif fault is not None and fault.event is not None:
                self._begin({"content-type": "application/json"})
                self._piece(json.dumps(fault.event).encode() + b"\n")
                self.wfile.write(b"0\r\n\r\n")
            else:
                self._pass_on(None if fault is None else fault.cut_after)

        def _refuse(self, fault: Fault) -> None:
            said = {"kind": "Status", "message": "as told", "reason": fault.reason, "code": fault.status}
            body = json.dumps(said).encode()
            self.send_response(fault.status)
            for name, value in {**fault.headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def _begin(self, headers: Mapping[str, str]) -> None:
            self.send_response(200)
            for name, value in {**headers, "transfer-encoding": "chunked"}.items():
                self.send_header(name, value)
            self.end_headers()

        def _piece(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

        def _pass_on(self, cut_after: int | None) -> None:
            context = ssl.create_default_context(cafile=str(proxy.server.ca))
            upstream = http.client.HTTPSConnection(
                "127.0.0.1", proxy.server.port, context=context, timeout=60
            )
            try:
                keep = ("authorization", "accept", "user-agent")
                upstream.request(
                    "GET",
                    self.path,
                    headers={name: self.headers[name] for name in keep if name in self.headers},
                )
                answer = upstream.getresponse()
                if answer.status != 200:
                    body = answer.read()
                    self.send_response(answer.status)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                    return
                self._begin({"content-type": answer.headers["content-type"]})
                passed = 0
                while piece := answer.read1(1 << 16):
                    if cut_after is not None and passed + len(piece) > cut_after:
                        self._piece(piece[: max(1, cut_after - passed)])
                        self.wfile.flush()
                        self.connection.shutdown(socket.SHUT_RDWR)
                        self.close_connection = True
                        return
                    self._piece(piece)
                    passed += len(piece)
                self.wfile.write(b"0\r\n\r\n")
            except (OSError, http.client.HTTPException):
                # The server is down or was stopped: so is this connection.
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
            finally:
                upstream.close()

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away."""


@contextmanager
def proxied(server: APIServer) -> Iterator[Proxy]:
    proxy = Proxy(server=server, port=0)
    listener = _Server(("127.0.0.1", 0), _handler(proxy))
    proxy.port = listener.server_address[1]
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listener.shutdown()
        proxy.cut_all()
        listener.server_close()
        thread.join(timeout=10)
