"""Prometheus' blackbox_exporter, the peer that TLS probes are measured against."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.servers import accepts, free_port, program, running


@dataclass(frozen=True, kw_only=True)
class Blackbox:
    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """User and system time of the process so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def probe(self, target: str, times: int) -> None:
        """Scrape /probe one after another over one connection. Raises RuntimeError if one does not succeed."""
        request = f"GET /probe?module=tls&target={target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            for _ in range(times):
                connection.sendall(request)
                body = _response(connection)
                if b"\nprobe_success 1" not in body:
                    raise RuntimeError(f"blackbox_exporter's probe failed:\n{body.decode(errors='replace')}")


def _response(connection: socket.socket) -> bytes:
    """One HTTP/1.1 response, by its length or its chunks."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        while not body.endswith(b"0\r\n\r\n"):
            body += _some(connection)
        return body
    length = next(
        int(line.partition(b":")[2])
        for line in head.splitlines()
        if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += _some(connection)
    return body


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise RuntimeError("blackbox_exporter closed the connection")
    return data


@contextmanager
def blackbox(tmp_path: Path, server_name: str) -> Iterator[Blackbox]:
    """Run it with one module, `tls`: connect, full handshake, any certificate is taken."""
    config = tmp_path / "blackbox.yml"
    config.write_text(
        "modules:\n  tls:\n    prober: tcp\n    timeout: 10s\n    tcp:\n      tls: true\n"
        "      preferred_ip_protocol: ip4\n      tls_config:\n        insecure_skip_verify: true\n"
        f"        server_name: {server_name}\n"
    )
    with blackbox_by(config) as running:
        yield running


@contextmanager
def blackbox_by(config: Path) -> Iterator[Blackbox]:
    """Run it by a config of its own."""
    binary = program("prometheus-blackbox-exporter", "prometheus-blackbox-exporter")
    port = free_port()
    with running(
        [binary, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"],
        ready=lambda: accepts(port),
        log=config.with_suffix(".log"),
    ) as process:
        yield Blackbox(port=port, process=psutil.Process(process.pid))
