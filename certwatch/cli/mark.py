"""`certwatch mark compromised`, `retired`, `list`, `end`."""

from pathlib import Path
from typing import Any

import click

from certwatch.cli.failure import FAILED, OK, USAGE, Failed
from certwatch.cli.instants import minute
from certwatch.cli.options import config_option, current_clock, json_option, reader_of, store_of
from certwatch.cli.shapes import write_json, write_json_list
from certwatch.cli.silence import login, text_of
from certwatch.cli.table import write_table
from certwatch.cli.text import shown
from certwatch.model.certificate import Certificate
from certwatch.model.instants import iso
from certwatch.model.mark import Mark, MarkID, MarkKind

COLUMNS = ("id", "what", "certificate", "fingerprint", "by", "why", "since")
#: Of a file that holds a certificate.
MAX_BYTES = 1 << 20


@click.group(name="mark")
def command() -> None:
    """Say of a key that it is compromised, of a certificate that it is retired. It stays so until it is taken back.

    A running daemon takes it into account within seconds.
    """


def _why(function: Any) -> Any:
    function = click.option("--by", metavar="NAME", help="Who. Else: whoever is logged in.")(function)
    return click.option("--why", required=True, metavar="TEXT", help="What those who see it should know.")(
        function
    )


@command.command(name="compromised")
@click.argument("certificate")
@_why
@json_option
@config_option
def compromised(certificate: str, why: str, by: str | None, as_json: bool, config: Path | None) -> int:
    """Its key is in other hands: every place that uses the key, or what a CA of that key has issued, is a page.

    CERTIFICATE is a fingerprint (SHA-256) or its beginning, or a file.
    """
    return _add("compromised", certificate, why, by, as_json, config)


@command.command(name="retired")
@click.argument("certificate")
@_why
@json_option
@config_option
def retired(certificate: str, why: str, by: str | None, as_json: bool, config: Path | None) -> int:
    """It is to be served nowhere any more: where it is, or comes back, there is a ticket.

    CERTIFICATE is a fingerprint (SHA-256) or its beginning, or a file.
    """
    return _add("retired", certificate, why, by, as_json, config)


@command.command(name="list")
@click.option("--all", "all_", is_flag=True, help="Those that were taken back, too.")
@json_option
@config_option
def list_(all_: bool, as_json: bool, config: Path | None) -> int:
    """Newest first."""
    with reader_of(config) as reader:
        found = [each for each in reader.marks() if all_ or each.ended_at is None]
    if as_json:
        write_json_list("marks", map(mark_json, found))
    elif not write_table(
        COLUMNS,
        (
            (
                str(each.id),
                each.kind + (" (taken back)" if each.ended_at else ""),
                each.certificate.shown,
                each.certificate.fingerprint_sha256.hex()[:16],
                each.author,
                each.reason,
                minute(each.created_at),
            )
            for each in found
        ),
    ):
        click.echo("certwatch: nothing is marked", err=True)
    return OK


@command.command(name="end")
@click.argument("id", type=click.IntRange(min=1, max=(1 << 63) - 1))
@config_option
def end(id: int, config: Path | None) -> int:
    """Take a mark back."""
    now = current_clock()()
    ended = store_of(config).end_mark(MarkID(id), now)
    if ended is None:
        raise Failed(FAILED, f"there is no mark {id}. See: certwatch mark list")
    click.echo(f"mark {id} {'ended' if ended.ended_at == now else 'was taken back'} {minute(ended.ended_at)}")
    return OK


def _add(kind: MarkKind, what: str, why: str, by: str | None, as_json: bool, config: Path | None) -> int:
    now = current_clock()()
    new = Mark(
        id=MarkID(0),
        kind=kind,
        certificate=certificate_of(what, config),
        author=text_of("--by", by if by is not None else login()),
        reason=text_of("--why", why),
        created_at=now,
    )
    added = store_of(config).mark(new)
    if as_json:
        write_json(mark_json(added))
    else:
        click.echo(f"mark {added.id}: {added.certificate.shown} is {kind}")
    return OK


def certificate_of(what: str, config: Path | None) -> Certificate:
    """Of a fingerprint or its beginning, or of a file. Raises Failed."""
    from certwatch.x509 import pem
    from certwatch.x509.der import read

    path = Path(what)
    if ("/" in what or "." in what) and path.is_file():
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise Failed(USAGE, f"{shown(what)}: larger than {MAX_BYTES} bytes: no certificate")
        if b"-----BEGIN" in data:
            data = next((each.data for each in pem.blocks(data) if each.data and "CERT" in each.label), b"")
        certificate = read(data)
        if certificate.spki_sha256 is None:
            raise Failed(USAGE, f"{shown(what)}: no certificate that can be read")
        return certificate
    prefix = what.replace(":", "").replace(" ", "").lower()
    if len(prefix) < 8 or not all(each in "0123456789abcdef" for each in prefix):
        raise Failed(USAGE, f"{shown(what)}: neither a file nor a fingerprint (8 hex digits or more)")
    with reader_of(config) as reader:
        found = reader.certificate(prefix, current_clock()())
    if not found:
        raise Failed(FAILED, f"{shown(what)}: no such certificate. Search with: certwatch list")
    if len(found) > 1:
        raise Failed(USAGE, f"{shown(what)}: {len(found)} certificates begin so. Give more digits")
    return found[0].certificate


def mark_json(mark: Mark) -> dict[str, Any]:
    return {
        "id": mark.id,
        "kind": mark.kind,
        "fingerprint_sha256": mark.certificate.fingerprint_sha256.hex(),
        "spki_sha256": mark.certificate.spki_sha256.hex() if mark.certificate.spki_sha256 else None,
        "subject": mark.certificate.subject,
        "author": mark.author,
        "reason": mark.reason,
        "created_at": iso(mark.created_at),
        "ended_at": iso(mark.ended_at),
    }
