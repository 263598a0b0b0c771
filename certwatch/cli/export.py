"""`certwatch export`."""

from itertools import chain
from pathlib import Path

import click

from certwatch.cli.options import config_option, current_clock, reader_of
from certwatch.cli.shapes import PLACE_COLUMNS, entry_json, place_rows, write_csv, write_json_list
from certwatch.cli.where import where_filter
from certwatch.inventory.store import Query

FORMATS = ("csv", "json")


@click.command(name="export")
@click.option("--format", "format_", type=click.Choice(FORMATS), required=True)
@click.option("--where", metavar="CEL", help="Only what a condition holds for.")
@config_option
def command(format_: str, where: str | None, config: Path | None) -> None:
    """Write the inventory for other tools.

    csv: a row for each certificate and location that has, or had, it. json: as certwatch list --json.
    """
    now = current_clock()()
    query = Query(where=None if where is None else where_filter(where, now))
    with reader_of(config) as reader:
        entries = reader.list(query, now)
        if format_ == "json":
            write_json_list("certificates", map(entry_json, entries))
        else:
            write_csv(PLACE_COLUMNS, chain.from_iterable(map(place_rows, entries)))
