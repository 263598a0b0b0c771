"""Let's Encrypt's test CA, pebble, from Debian: an ACME server that takes every challenge as met."""

import json
from collections.abc import Iterator
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
def pebble(folder: Path) -> Iterator[Pebble]:
    """`folder` is empty and its own."""
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
                    "httpPort": free_port(),
                    "tlsPort": free_port(),
                    "ocspResponderURL": "",
                    "externalAccountBindingRequired": False,
                }
            }
        )
    )
    command = [program("pebble", "pebble"), "-config", str(config)]
    environment = {
        "PEBBLE_VA_ALWAYS_VALID": "1",
        "PEBBLE_VA_NOSLEEP": "1",
        "PEBBLE_WFE_NONCEREJECT": "0",
        "PEBBLE_AUTHZREUSE": "100",
    }
    with running(command, ready=lambda: accepts(port), log=folder / "pebble.log", env=environment):
        yield Pebble(directory_url=f"https://127.0.0.1:{port}/dir", root=certificate)
