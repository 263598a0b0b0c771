"""OpenSSL's own client and server: what others see, and servers that no one else would run."""

import re
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from certwatch.plugins.testing import Issued
from tests.support.servers import accepts, free_port, program, running

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", re.DOTALL)


def certificates(pem: bytes) -> tuple[bytes, ...]:
    """Every certificate of a text, as DER."""
    return tuple(ssl.PEM_cert_to_DER_cert(each.decode()) for each in _CERTIFICATE.findall(pem))


def showcerts(
    port: int, *options: str, host: str = "127.0.0.1", name: str | None = None
) -> tuple[bytes, ...]:
    """The chain as `openssl s_client -showcerts` shows it."""
    done = subprocess.run(
        [
            program("openssl", "openssl"),
            "s_client",
            "-showcerts",
            "-connect",
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            *(["-servername", name] if name else ["-noservername"]),
            *("-cipher", "ALL:@SECLEVEL=0"),
            *options,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=15,
        check=False,
    )
    return certificates(done.stdout)


@contextmanager
def s_server(
    tmp_path: Path, issued: Issued | tuple[bytes, bytes], *options: str, chain_pem: bytes | None = None
) -> Iterator[int]:
    """`openssl s_server` on a free port. `issued`: or certificate and key as PEM. `chain_pem`: what follows the
    leaf; else what the certificate's issuers say."""
    certificate, key = (issued.pem, issued.key_pem) if isinstance(issued, Issued) else issued
    if chain_pem is None:
        chain_pem = issued.chain_pem[len(issued.pem) :] if isinstance(issued, Issued) else b""
    port = free_port()
    folder = tmp_path / f"s_server-{port}"
    folder.mkdir()
    (folder / "leaf.pem").write_bytes(certificate)
    (folder / "key.pem").write_bytes(key)
    chain: Sequence[str | Path] = ()
    if chain_pem:
        (folder / "chain.pem").write_bytes(chain_pem)
        chain = ("-cert_chain", folder / "chain.pem")
    with running(
        [
            program("openssl", "openssl"),
            "s_server",
            "-quiet",
            "-www",
            *("-accept", f"127.0.0.1:{port}", "-cert", folder / "leaf.pem", "-key", folder / "key.pem"),
            *chain,
            *options,
        ],
        ready=lambda: accepts(port),
        log=folder / "log",
    ):
        yield port
