"""Endpoints that take their time: HAProxy in front of a server waits before it passes a connection on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certwatch.plugins.testing import make_certificate
from tests.support.nginx import NginxServer, nginx
from tests.support.servers import accepts, free_port, program, running


@contextmanager
def delayed(folder: Path, port: int, milliseconds: int) -> Iterator[int]:
    """A port on which all of 127.0.0.0/8 answers as `port` does, so much later. `folder` is made."""
    folder.mkdir()
    front = free_port()
    config = folder / "haproxy.cfg"
    config.write_text(
        f"""global
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend late
  bind 0.0.0.0:{front}
  tcp-request inspect-delay {milliseconds}ms
  tcp-request content accept if WAIT_END
  default_backend server
backend server
  server one 127.0.0.1:{port}
"""
    )
    command: list[str | Path] = [program("haproxy", "haproxy"), "-db", "-f", config]
    with running(command, ready=lambda: accepts(front), log=folder / "log"):
        yield front


@contextmanager
def delayed_site(folder: Path, name: str, milliseconds: int) -> Iterator[int]:
    """A port on which nginx shows a certificate for `name` so much later."""
    leaf = make_certificate(names=[f"dns:{name}"])
    server = NginxServer(chain_pem=leaf.chain_pem, key_pem=leaf.key_pem, names=(name,))
    with nginx(folder, [server]) as running, delayed(folder / "haproxy", running.port, milliseconds) as port:
        yield port
