"""What the verbs of `certwatch ca` share: what they read, and how they show what was made."""

import sys
from pathlib import Path
from typing import Any

import click

from certwatch.cli.failure import ACTION, OK
from certwatch.cli.shapes import write_json
from certwatch.cli.text import shown

KEY_TYPES = click.Choice(
    [
        "ec-p256",
        "ec-p384",
        "rsa-2048",
        "rsa-3072",
        "rsa-4096",
        "ed25519",
        "ml-dsa-44",
        "ml-dsa-65",
        "ml-dsa-87",
    ]
)


def issued(answer: dict[str, Any], out: Path | None, *, as_json: bool) -> int:
    if answer["state"] == "waiting":
        if as_json:
            write_json(answer)
        say(
            f"request {answer['request']}: waits for {answer['needed']} more to approve it:"
            f" certwatch ca approve {answer['request']}"
        )
        return ACTION
    if as_json:
        write_json(answer)
        if out is not None:
            write_out(out, answer["chain"].encode())
    else:
        write_out(out, answer["chain"].encode())
    say(f"serial {answer['serial']}, until {answer['not_after']}, by {answer['issuer']}")
    return OK


def say(message: str) -> None:
    click.echo(f"certwatch: {shown(message)}", err=True)


def read_file(path: Path) -> bytes:
    from certwatch.ca.request import MAX_CSR_BYTES

    if str(path) == "-":
        return sys.stdin.buffer.read(MAX_CSR_BYTES + 1)
    with path.open("rb") as opened:
        return opened.read(MAX_CSR_BYTES + 1)


def pem_of(csr: bytes) -> str:
    """DER goes as PEM: what is asked is text."""
    if b"-----BEGIN" in csr:
        return csr.decode("ascii", "replace")
    import base64

    return f"-----BEGIN CERTIFICATE REQUEST-----\n{base64.encodebytes(csr).decode()}-----END CERTIFICATE REQUEST-----\n"


def write_out(path: Path | None, data: bytes) -> None:
    """Whole or not at all."""
    if path is None or str(path) == "-":
        click.echo(data, nl=False)
        return
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(data)
    fresh.replace(path)
