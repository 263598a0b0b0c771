"""`certwatch silence add`, `list`, `end`."""

import getpass
import os
import shlex
from datetime import datetime, timedelta
from pathlib import Path

import click

from certwatch.cli.failure import FAILED, OK, USAGE, Failed
from certwatch.cli.instants import duration, minute
from certwatch.cli.options import config_option, current_clock, json_option, reader_of, store_of
from certwatch.cli.shapes import silence_json, write_json, write_json_list
from certwatch.cli.table import write_table
from certwatch.cli.text import shown
from certwatch.cli.where import findings_filter
from certwatch.inventory.store import FindingQuery, Reader
from certwatch.model.finding import FindingID
from certwatch.model.instants import parse_instant
from certwatch.model.silence import MAX_TEXT, Matter, Silence, SilenceID

#: What is put off for longer is not put off.
LONGEST = timedelta(days=366)
COLUMNS = ("id", "until", "by", "why", "covers", "created")


@click.group(name="silence")
def command() -> None:
    """Take note of findings. They stay open and are shown; nobody is told of them until the time is over.

    A running daemon takes it into account within seconds.
    """


@command.command(name="add")
@click.argument("finding", type=click.IntRange(min=1, max=(1 << 63) - 1), metavar="[FINDING]", required=False)
@click.option(
    "--where", metavar="CEL", help='All that match: finding.rule == "expiry" && location.owner == "lab".'
)
@click.option(
    "--until", required=True, metavar="TIME", help="2026-12-24, 2026-12-24T08:00Z, or from now: 48h, 7d."
)
@click.option("--why", required=True, metavar="TEXT", help="What those who see it should know.")
@click.option("--by", metavar="NAME", help="Who. Else: whoever is logged in.")
@json_option
@config_option
def add(
    finding: int | None,
    where: str | None,
    until: str,
    why: str,
    by: str | None,
    as_json: bool,
    config: Path | None,
) -> int:
    """Silence one finding by its number, also when it is resolved and opens again; or all that match a condition."""
    now = current_clock()()
    if (finding is None) == (where is None):
        raise Failed(USAGE, "silence add: give the number of a finding, or --where")
    with reader_of(config) as reader:
        new = Silence(
            id=SilenceID(0),
            covers=_matter(reader, finding) if finding is not None else _condition(where or ""),
            until=_until(until, now),
            author=text_of("--by", by if by is not None else login()),
            reason=text_of("--why", why),
            created_at=now,
        )
        covered = _covered(reader, where, now) if where is not None and not as_json else None
    added = store_of(config).silence(new)
    if as_json:
        write_json(silence_json(added))
    else:
        click.echo(f"silence {added.id}, until {minute(added.until)}" + (f": {covered}" if covered else ""))
    return OK


@command.command(name="list")
@click.option("--all", "all_", is_flag=True, help="Those that are over, too.")
@json_option
@config_option
def list_(all_: bool, as_json: bool, config: Path | None) -> int:
    """Newest first."""
    now = current_clock()()
    with reader_of(config) as reader:
        found = reader.silences(None if all_ else now)
    if as_json:
        write_json_list("silences", map(silence_json, found))
    elif not write_table(
        COLUMNS,
        (
            (
                str(each.id),
                minute(min(each.until, each.ended_at or each.until)),
                each.author,
                each.reason,
                _covers(each),
                minute(each.created_at),
            )
            for each in found
        ),
        spare=("created",),
    ):
        click.echo("certwatch: nothing is silenced", err=True)
    return OK


@command.command(name="end")
@click.argument("id", type=click.IntRange(min=1, max=(1 << 63) - 1))
@config_option
def end(id: int, config: Path | None) -> int:
    """End a silence before its time."""
    now = current_clock()()
    ended = store_of(config).end_silence(SilenceID(id), now)
    if ended is None:
        raise Failed(FAILED, f"there is no silence {id}. See: certwatch silence list")
    over = min(ended.until, ended.ended_at or ended.until)
    click.echo(f"silence {id} {'ended' if ended.ended_at == now else 'was over'} {minute(over)}")
    return OK


def _matter(reader: Reader, id: int) -> Matter:
    finding = reader.finding(FindingID(id))
    if finding is None:
        raise Failed(FAILED, f"there is no finding {id}. See: certwatch findings")
    return Matter(rule=finding.rule, location=finding.location, fingerprint=finding.fingerprint)


def _condition(text: str) -> str:
    from certwatch.expressions import ExpressionError, compile

    try:
        compile(text, scope="silence")
    except ExpressionError as error:
        raise Failed(USAGE, f"--where: {error.message}") from error
    return text


def _covered(reader: Reader, where: str, now: datetime) -> str:
    """One that covers nothing is misspelt, and one that covers everything is soon forgotten: said while it can be taken back."""
    found = [each.severity for each in reader.findings(FindingQuery(where=findings_filter(where, now)))]
    if not found:
        return (
            f"nothing that is open now. Is it what you mean? certwatch findings --where {shlex.quote(where)}"
        )
    pages = found.count("page")
    return f"{len(found)} of what is open now" + (f", {pages} of it pages" if pages else "")


def _until(text: str, now: datetime) -> datetime:
    try:
        until = parse_instant(text)
    except ValueError:
        try:
            until = now + duration(text)
        except Failed as error:
            raise Failed(
                USAGE, f"--until: {shown(text)}: neither a time (2026-12-24) nor a duration (48h, 7d)"
            ) from error
    if until <= now:
        raise Failed(USAGE, f"--until: {minute(until)} is over already")
    if until > now + LONGEST:
        raise Failed(USAGE, f"--until: more than a year away. At most {minute(now + LONGEST)}")
    return until


def text_of(option: str, text: str) -> str:
    text = " ".join(text.split())
    if not text or len(text) > MAX_TEXT:
        raise Failed(USAGE, f"{option}: between 1 and {MAX_TEXT} characters")
    return text


def login() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"


def _covers(silence: Silence) -> str:
    if isinstance(silence.covers, Matter):
        return f"{silence.covers.rule} at {silence.covers.location}"
    return silence.covers
