"""`certwatch list`."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certwatch.cli.instants import INSTANT, duration, left, minute
from certwatch.cli.options import LIMIT, config_option, current_clock, json_option, reader_of
from certwatch.cli.shapes import ENTRY_COLUMNS, entry_json, entry_row, write_csv, write_json_list
from certwatch.cli.table import write_table
from certwatch.cli.text import common_name, first_of
from certwatch.inventory.store import Query

if TYPE_CHECKING:
    from certwatch.inventory.store import Entry

SORTS = ("not_after", "not_before", "subject", "issuer", "first_seen", "locations")
COLUMNS = ("expires", "left", "state", "names", "issuer", "locations", "owner", "fingerprint")


@click.command(name="list")
@click.argument("query", required=False)
@click.option("--where", metavar="CEL", help="A condition: 'cert.key.type == \"rsa\"'.")
@click.option("--at", type=INSTANT, metavar="TIME", help="What was served then.")
@click.option("--expiring-in", metavar="DURATION", help="Valid, and not for longer than this (30d).")
@click.option("--expired", is_flag=True, help="Expired ones.")
@click.option("--owner", metavar="TEAM", help="At a location that this team answers for.")
@click.option("--collector", metavar="NAME", help="At a location that this collector watches.")
@click.option("--issuer", metavar="TEXT", help="A part of the issuer's name.")
@click.option("--sort", type=click.Choice(SORTS), default="not_after", show_default=True)
@click.option("--reverse", is_flag=True, help="Last first.")
@click.option("--limit", type=LIMIT, metavar="N", help="At most so many.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="CSV, for spreadsheets.")
@config_option
def command(
    query: str | None,
    where: str | None,
    at: datetime | None,
    expiring_in: str | None,
    expired: bool,
    owner: str | None,
    collector: str | None,
    issuer: str | None,
    sort: str,
    reverse: bool,
    limit: int | None,
    as_json: bool,
    as_csv: bool,
    config: Path | None,
) -> int:
    """List the certificates of the inventory.

    QUERY is a name (*.example.com is that and everything below), a part of a subject, a serial number, a fingerprint
    or its beginning, a location or its beginning.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv: choose one")
    if expired and expiring_in is not None:
        raise click.UsageError("--expired and --expiring-in: choose one")
    now = current_clock()()
    then = at or now
    asked = Query(
        text=query,
        expires_before=then + duration(expiring_in) if expiring_in is not None else None,
        expires_after=then if expiring_in is not None else None,
        expired_at=then if expired else None,
        owner=owner,
        collector=collector,
        issuer=issuer,
        at=at,
        sort=sort,  # type: ignore[arg-type]
        descending=reverse,
        limit=limit,
    )
    if where is not None:
        from certwatch.cli.where import where_filter

        asked = replace(asked, where=where_filter(where, then))
    with reader_of(config) as reader:
        entries = reader.list(asked, now)
        if as_json:
            write_json_list("certificates", map(entry_json, entries))
        elif as_csv:
            write_csv(ENTRY_COLUMNS, map(entry_row, entries))
        elif not write_table(COLUMNS, _rows(entries, then), spare=("owner", "issuer", "left")):
            _say_nothing(asked)
    return 0


def _rows(entries: "Iterator[Entry]", now: datetime) -> Iterator[tuple[str, ...]]:
    for entry in entries:
        certificate = entry.certificate
        live = [place for place in entry.places if place.ended_at is None] or list(entry.places)
        names = [name.partition(":")[2] for name in certificate.names] or [common_name(certificate.subject)]
        more = f" +{entry.locations - 1}" if entry.locations > 1 else ""
        more += " or more" if entry.more else ""
        yield (
            minute(certificate.not_after),
            left(certificate.not_after, now),
            f"{entry.validity}, {entry.presence}",
            first_of(names),
            common_name(certificate.issuer),
            (live[0].location if live else "—") + more,
            first_of(list(dict.fromkeys(place.owner for place in live if place.owner))),
            certificate.fingerprint_sha256.hex()[:16],
        )


def _say_nothing(asked: Query) -> None:
    narrowed = asked != Query(sort=asked.sort, descending=asked.descending, limit=asked.limit)
    click.echo(
        "certwatch: no certificate of the inventory matches"
        if narrowed
        else "certwatch: the inventory is empty. Fill it with: certwatch collect",
        err=True,
    )
