"""A real HAProxy in front of nothing: it ends TLS, and answers by itself."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers import accepts, free_port, program, running


@dataclass(frozen=True, kw_only=True)
class HAProxy:
    port: int
    #: Certificate, chain and key in one file, as HAProxy wants them.
    certificate: Path
    #: Of the master, which takes everything up anew on SIGUSR2.
    pid_file: Path
    process: subprocess.Popen[bytes]


@contextmanager
def haproxy(folder: Path, combined_pem: bytes) -> Iterator[HAProxy]:
    """`folder` is made: its own."""
    folder.mkdir()
    port = free_port()
    certificate, config, pid_file = folder / "site.pem", folder / "haproxy.cfg", folder / "haproxy.pid"
    certificate.write_bytes(combined_pem)
    certificate.chmod(0o640)
    config.write_text(
        f"""global
  maxconn 1000
defaults
  mode http
  timeout connect 5s
  timeout client 20s
  timeout server 20s
frontend web
  bind 127.0.0.1:{port} ssl crt {certificate}
  http-request return status 200 content-type text/plain string ok
"""
    )
    # Master and workers: connections are handed on at a reload.
    command: list[str | Path] = [program("haproxy", "haproxy"), "-W", "-db", "-f", config, "-p", pid_file]
    with running(command, ready=lambda: accepts(port), log=folder / "log") as process:
        pid_file.write_text(f"{process.pid}\n")
        yield HAProxy(port=port, certificate=certificate, pid_file=pid_file, process=process)
