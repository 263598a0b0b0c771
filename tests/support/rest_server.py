"""A cloud's REST API on loopback, as strict as the real one on what it is asked: who asks, which paths, which parameters."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, kw_only=True)
class Asked:
    method: str
    #: Without query.
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Reply:
    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = Callable[[Asked], Reply]


@dataclass(kw_only=True)
class RestServer:
    port: int
    #: Everything asked so far, those refused included.
    asked: list[Asked] = field(default_factory=list)
    #: Instead of the next answers.
    faults: list[Reply] = field(default_factory=list)
    #: Path to an answer instead of the API's own.
    instead: dict[str, Reply] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        return [each.path for each in self.asked]


@contextmanager
def rest_server(answer: Callable[["RestServer"], Answer]) -> Iterator[RestServer]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one segment: a second one would wait for the client's delayed acknowledgement.
        wbufsize = -1

        def handle_one(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("content-length") or 0)
            asked = Asked(
                method=self.command,
                path=parts.path,
                query=dict(parse_qsl(parts.query, keep_blank_values=True)),
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(length),
            )
            with lock:
                running.asked.append(asked)
                reply = running.faults.pop(0) if running.faults else running.instead.get(asked.path)
            reply = reply or api(asked)
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"content-type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = handle_one

        def do_LIST(self) -> None:
            self.handle_one()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running = RestServer(port=server.server_address[1])
    api = answer(running)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def paged(items: list[Any], asked: Asked, *, size: str, token: str, most: int) -> tuple[list[Any], str]:
    """A page, and the token of the next one (empty: it is the last)."""
    count = min(int(asked.query.get(size) or most), most)
    first = int(asked.query.get(token) or 0)
    page = items[first : first + count]
    return page, str(first + count) if first + count < len(items) else ""
