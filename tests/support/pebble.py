"""Let's Encrypt's test CA, pebble, from Debian: an ACME server that takes every challenge as met."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.openssl import openssl
from tests.support.servers import accepts, free_port, program, running


@dataclass(frozen=True, slots=True, kw_only=True)
class Pebble:
    directory_url: str
    #: Of the HTTPS server itself, PEM.
    root: Path


@contextmanager
def pebble(
    folder: Path,
    *,
    names_port: int | None = None,
    http_port: int | None = None,
    bindings: Mapping[str, str] = {},
) -> Iterator[Pebble]:
    """`folder` is empty and its own. `names_port`: of the name server by which it validates; None: every challenge is taken
    as met. `bindings`: keys of external accounts by name, without which it makes no account."""
    port, management = free_port(), free_port()
    certificate, key, config = folder / "server.pem", folder / "server.key", folder / "pebble.json"
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
        "-out", certificate, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-days", "30",
    )  # fmt: skip
    config.write_text(
        json.dumps(
            {
                "pebble": {
                    "listenAddress": f"127.0.0.1:{port}",
                    "managementListenAddress": f"127.0.0.1:{management}",
                    "certificate": str(certificate),
                    "privateKey": str(key),
                    "httpPort": http_port or free_port(),
                    "tlsPort": free_port(),
                    "ocspResponderURL": "",
                    "externalAccountBindingRequired": bool(bindings),
                    "externalAccountMACKeys": dict(bindings),
                }
            }
        )
    )
    command = [program("pebble", "pebble"), "-config", str(config)]
    if names_port is not None:
        command += ["-dnsserver", f"127.0.0.1:{names_port}"]
    environment = {
        "PEBBLE_VA_ALWAYS_VALID": "0" if names_port is not None else "1",
        "PEBBLE_VA_NOSLEEP": "1",
        "PEBBLE_WFE_NONCEREJECT": "0",
        "PEBBLE_AUTHZREUSE": "0" if names_port is not None else "100",
    }
    with running(command, ready=lambda: accepts(port), log=folder / "pebble.log", env=environment):
        yield Pebble(directory_url=f"https://127.0.0.1:{port}/dir", root=certificate)
