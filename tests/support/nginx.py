"""A real nginx as TLS server: several server blocks, certificates that can be swapped while it runs."""

import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.servers import accepts, free_port, program, running, wait_until


@dataclass(frozen=True, kw_only=True)
class NginxServer:
    """One `server` block. Blocks with the same port are told apart by SNI, the first is the default."""

    #: Certificates as the server presents them, leaf first.
    chain_pem: bytes
    key_pem: bytes
    #: `server_name`s. Empty: none.
    names: tuple[str, ...] = ()
    #: None: a free port.
    port: int | None = None
    host: str = "127.0.0.1"
    #: Further directives of the block, each with its semicolon: "ssl_protocols TLSv1.2;".
    directives: str = ""
    #: Files beside the configuration that directives name ("client-ca.pem"), by name.
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Nginx:
    """A running nginx. `ports` is in the order of the servers that were asked for."""

    ports: tuple[int, ...]
    process: subprocess.Popen[bytes]
    folder: Path
    servers: tuple[NginxServer, ...]

    @property
    def port(self) -> int:
        """Of the first server."""
        return self.ports[0]

    def swap(self, index: int, chain_pem: bytes, key_pem: bytes) -> None:
        """Give one server another certificate and reload. Returns when new connections get it."""
        _write(self.folder / f"{index}.chain.pem", chain_pem)
        _write(self.folder / f"{index}.key.pem", key_pem)
        master = psutil.Process(self.process.pid)
        former = master.children()
        self.process.send_signal(signal.SIGHUP)

        def taken() -> bool:
            # The former workers still accept until each has been told to stop.
            return set(master.children()) != set(former) and not any(map(_accepting, former))

        wait_until(taken, what="nginx reload")


def _accepting(worker: psutil.Process) -> bool:
    try:
        return worker.status() != psutil.STATUS_ZOMBIE and "shutting down" not in " ".join(worker.cmdline())
    except psutil.NoSuchProcess:
        return False


def _write(path: Path, data: bytes) -> None:
    """Replaced as a whole: a reload never reads half a file."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(data)
    fresh.replace(path)


def presented(port: int, host: str = "127.0.0.1", name: str | None = None) -> bytes:
    """The leaf that the standard library sees, as DER: independent of what is tested. Empty: no handshake."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=name) as secure,
        ):
            return secure.getpeercert(binary_form=True) or b""
    except OSError:
        return b""


def _block(folder: Path, index: int, port: int, server: NginxServer, *, first: bool) -> str:
    address = f"[{server.host}]" if ":" in server.host else server.host
    listen = f"{address}:{port} ssl" + (" default_server backlog=4096" if first else "")
    names = f"server_name {' '.join(server.names)};" if server.names else ""
    return (
        f"server {{ listen {listen}; {names}\n"
        f"  ssl_certificate {folder}/{index}.chain.pem; ssl_certificate_key {folder}/{index}.key.pem;\n"
        f"  {server.directives}\n"
        '  location / { return 200 "ok\\n"; } }\n'
    )


@contextmanager
def nginx(
    tmp_path: Path, servers: Sequence[NginxServer], *, http: str = "", workers: int = 1
) -> Iterator[Nginx]:
    """Run nginx with these servers below a folder of its own in `tmp_path`. `http`: further directives of the
    http block."""
    binary = program("nginx", "nginx")
    folder = tmp_path / "nginx"
    folder.mkdir()
    ports = tuple(server.port or free_port(server.host) for server in servers)
    blocks = []
    seen: set[tuple[str, int]] = set()
    for index, (server, port) in enumerate(zip(servers, ports, strict=True)):
        _write(folder / f"{index}.chain.pem", server.chain_pem)
        _write(folder / f"{index}.key.pem", server.key_pem)
        for name, data in server.files.items():
            (folder / name).write_bytes(data)
        blocks.append(_block(folder, index, port, server, first=(server.host, port) not in seen))
        seen.add((server.host, port))
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        # As root, workers would run as nobody, who cannot read a test's folder.
        ("user root;\n" if os.geteuid() == 0 else "")
        + f"daemon off; pid {folder}/nginx.pid; error_log stderr warn; worker_processes {workers};\n"
        "events { worker_connections 8192; }\n"
        f"http {{ access_log off; ssl_protocols TLSv1.2 TLSv1.3; {temporary}{http}\n{''.join(blocks)}}}\n"
    )
    with running(
        [binary, "-p", folder, "-c", folder / "nginx.conf"],
        ready=lambda: all(accepts(port, server.host) for server, port in zip(servers, ports, strict=True)),
        log=folder / "log",
    ) as process:
        yield Nginx(ports=ports, process=process, folder=folder, servers=tuple(servers))
