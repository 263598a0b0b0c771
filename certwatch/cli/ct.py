"""`certwatch ct status`, `authorize`, `evidence`, `prove`."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from certwatch.cli.failure import ACTION, FAILED, OK, USAGE, Failed
from certwatch.cli.instants import minute, rough
from certwatch.cli.mark import certificate_of, mark_json
from certwatch.cli.options import config_option, current_clock, json_option, reader_of, store_of
from certwatch.cli.shapes import write_json, write_json_list
from certwatch.cli.silence import login, text_of
from certwatch.cli.table import write_table
from certwatch.cli.text import shown
from certwatch.model.instants import iso
from certwatch.model.location import LocationURI
from certwatch.model.mark import Mark, MarkID
from certwatch.model.sighting import Served

COLUMNS = ("log", "kind", "state", "verified", "of", "behind", "read up to", "lag", "fault")


@click.group(name="ct")
def command() -> None:
    """Certificate Transparency: how far logs are read, what is expected in them, and the proof of what is not."""


@command.command(name="status")
@json_option
@config_option
def status(as_json: bool, config: Path | None) -> int:
    """How far each log is read and verified. Exit status 1: a log misbehaves, or cannot be read."""
    now = current_clock()()
    with reader_of(config) as reader:
        logs = sorted(
            (each for each in reader.live() if each.location.kind == "ct-log"),
            key=lambda each: each.location.uri,
        )
    if as_json:
        write_json_list("logs", (_json(each) for each in logs))
    elif not write_table(COLUMNS, (_row(each, now) for each in logs), spare=("kind", "state", "of")):
        click.echo("certwatch: no log is read. Configure a collector of kind ct", err=True)
    return ACTION if any(each.facts.get("ct_faults") or each.error for each in logs) else OK


def _row(log: Served, now: datetime) -> tuple[str, ...]:
    facts = log.facts
    size, head = facts.get("ct_size"), facts.get("ct_head_size")
    behind = head - size if isinstance(size, int) and isinstance(head, int) else None
    read_at = _instant(facts.get("ct_read_at"))
    finished = facts.get("ct_finished") is True
    return (
        log.location.uri.removeprefix("ct-log://"),
        str(facts.get("ct_kind", "")),
        "read to its end" if finished else str(facts.get("ct_log_state", "")),
        "—" if size is None else str(size),
        "—" if head is None else str(head),
        "—" if behind is None else str(max(0, behind)),
        minute(read_at) if read_at is not None else "—",
        "—" if read_at is None or finished else rough(now - read_at),
        _fault(log),
    )


def _faults(log: Served) -> list[dict[str, Any]]:
    try:
        said = json.loads(str(log.facts.get("ct_faults") or "[]"))
    except ValueError:
        return []
    return [each for each in said if isinstance(each, dict)]


def _fault(log: Served) -> str:
    words = [f"{each.get('kind')} {each.get('at')}" for each in _faults(log)]
    if log.error is not None:
        words.append(log.error.message)
    if log.facts.get("ct_slow"):
        words.append(str(log.facts["ct_slow"]))
    return "; ".join(words)


def _instant(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None


def _json(log: Served) -> dict[str, Any]:
    facts = log.facts
    return {
        "log": log.location.uri.removeprefix("ct-log://"),
        "description": facts.get("ct_log"),
        "operator": facts.get("ct_operator"),
        "kind": facts.get("ct_kind"),
        "state": facts.get("ct_log_state"),
        "start": facts.get("ct_start"),
        "verified_entries": facts.get("ct_size"),
        "head_entries": facts.get("ct_head_size"),
        "head_at": facts.get("ct_head_at"),
        "read_up_to": facts.get("ct_read_at"),
        "finished": facts.get("ct_finished"),
        "slow": facts.get("ct_slow"),
        "faults": _faults(log),
        "error": None if log.error is None else log.error.message,
        "failing_since": iso(log.failing_since),
    }


@command.command(name="authorize")
@click.argument("certificate")
@click.option("--key", is_flag=True, help="Every certificate of its key, also those to come.")
@click.option("--why", required=True, metavar="TEXT", help="What those who see it should know.")
@click.option("--by", metavar="NAME", help="Who. Else: whoever is logged in.")
@json_option
@config_option
def authorize(
    certificate: str, key: bool, why: str, by: str | None, as_json: bool, config: Path | None
) -> int:
    """Say that a certificate is expected: it, its precertificate, in every log, now and later.

    CERTIFICATE is a fingerprint (SHA-256) or its beginning, or a file. Taken back by `certwatch mark end`.
    """
    new = Mark(
        id=MarkID(0),
        kind="authorised-key" if key else "authorised",
        certificate=certificate_of(certificate, config),
        author=text_of("--by", by if by is not None else login()),
        reason=text_of("--why", why),
        created_at=current_clock()(),
    )
    added = store_of(config).mark(new)
    if as_json:
        write_json(mark_json(added))
    else:
        what = "every certificate of the key of " if key else ""
        click.echo(f"mark {added.id}: {what}{added.certificate.shown} is expected")
    return OK


@command.command(name="evidence")
@click.argument("location")
@click.option(
    "-o", "--out", metavar="FOLDER", type=click.Path(path_type=Path), help="Else: made of the location."
)
@config_option
def evidence(location: str, out: Path | None, config: Path | None) -> int:
    """Write all that proves a finding into a folder: log, entry, inclusion, chain; or the heads that contradict one another.

    LOCATION is ct://LOG/INDEX or ct-log://LOG, as findings name it.
    """
    from certwatch.ct.evidence import NoEvidence, entry_pack, log_pack

    with reader_of(config) as reader:
        served = reader.served(LocationURI(location))
        if served is None:
            raise Failed(FAILED, f"{shown(location)}: no such place. See: certwatch findings")
        log = None
        if served.location.kind == "ct":
            log = reader.served(LocationURI("ct-log" + location.removeprefix("ct").rpartition("/")[0]))
    try:
        if served.location.kind == "ct":
            if log is None:
                raise Failed(FAILED, f"{shown(location)}: its log is not known any more")
            files = entry_pack(location, tuple(each.der for each in served.chain), served.facts, log.facts)
        elif served.location.kind == "ct-log":
            files = log_pack(location, served.facts)
        else:
            raise Failed(USAGE, f"{shown(location)}: neither ct://LOG/INDEX nor ct-log://LOG")
    except NoEvidence as error:
        raise Failed(FAILED, str(error)) from error
    name = "".join(each if each.isalnum() or each in ".-" else "-" for each in location.partition("://")[2])
    folder = out if out is not None else Path(f"evidence-{name[:150]}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each, data in files.items():
            (folder / each).write_bytes(data)
    except OSError as error:
        raise Failed(FAILED, f"{folder}: {error.strerror}") from error
    click.echo(f"{folder}: {', '.join(sorted(files))}")
    return OK


@command.command(name="prove")
@click.argument("file", type=click.Path(path_type=Path))
def prove(file: Path) -> int:
    """Verify an evidence pack, without a network and without an inventory: what it proves, line by line."""
    from certwatch.ct.evidence import MAX_BYTES, PACK, NoEvidence, verify_pack

    path = file / PACK if file.is_dir() else file
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise Failed(USAGE, f"{path}: {error.strerror}") from error
    try:
        for each in verify_pack(data):
            click.echo(each)
    except NoEvidence as error:
        raise Failed(ACTION, f"{path}: {error}") from error
    return OK
