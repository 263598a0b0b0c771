"""A server that answers as crt.sh does: searches in JSON, certificates in PEM. What crt.sh itself has cannot be had in tests."""

import base64
import fnmatch
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from certwatch.x509 import der

#: Status, body, further headers.
Answer = tuple[int, bytes, dict[str, str]]


@dataclass
class CrtSh:
    certificates: dict[int, bytes] = field(default_factory=dict)
    #: Given out instead, one a request.
    instead: list[Answer] = field(default_factory=list)
    #: Queries, in order.
    asked: list[str] = field(default_factory=list)
    user_agents: set[str] = field(default_factory=set)
    url: str = ""

    def answer(self, query: str) -> Answer:
        self.asked.append(query)
        if self.instead:
            return self.instead.pop(0)
        said = {name: values[0] for name, values in parse_qs(query).items()}
        if "d" in said:
            data = self.certificates.get(int(said["d"]))
            if data is None:
                return 404, b"", {}
            body = base64.encodebytes(data)
            return 200, b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n", {}
        pattern = said["q"].replace("[", "[[]").replace("*", "[*]").replace("%", "*").lower()
        found = [
            self._line(id, data)
            for id, data in sorted(self.certificates.items(), reverse=True)
            if any(fnmatch.fnmatchcase(name, pattern) for name in self._names(data))
        ]
        return 200, json.dumps(found).encode(), {"Content-Type": "application/json"}

    def _names(self, data: bytes) -> list[str]:
        return [each.partition(":")[2].lower() for each in der.read(data).names]

    def _line(self, id: int, data: bytes) -> dict[str, object]:
        read = der.read(data)
        assert read.not_before is not None
        assert read.not_after is not None
        return {
            "issuer_ca_id": 16418,
            "issuer_name": read.issuer,
            "common_name": read.subject.removeprefix("CN="),
            "name_value": "\n".join(self._names(data)),
            "id": id,
            "entry_timestamp": "2026-11-01T12:00:00.123",
            "not_before": f"{read.not_before:%Y-%m-%dT%H:%M:%S}",
            "not_after": f"{read.not_after:%Y-%m-%dT%H:%M:%S}",
            "serial_number": read.serial_hex,
            "result_count": 2,
        }


@contextmanager
def crtsh() -> Iterator[CrtSh]:
    it = CrtSh()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            it.user_agents.add(self.headers.get("User-Agent", ""))
            status, body, headers = it.answer(urlsplit(self.path).query)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    it.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield it
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
