"""Tables: with rules and colour on a terminal, plain and aligned elsewhere."""

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence

import click

from certwatch.cli.text import cell, pad, width

#: Rows that decide how wide plain columns are; more are written as they come, so that a million need no memory.
MEASURED_ROWS = 1000
#: With more rows a terminal gets the plain table too: it would have to be held whole to be drawn.
DRAWN_ROWS = 1000

#: Words that stand out on a terminal.
STYLES = {
    "page": "bold red",
    "expired": "red",
    "fail": "bold red",
    "ticket": "yellow",
    "warn": "yellow",
    "not-yet-valid": "yellow",
    "ok": "green",
}


def is_terminal() -> bool:
    return sys.stdout.isatty()


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """On standard output; cells are made safe. Returns how many rows there were; without any nothing is written."""
    iterator = (tuple(cell(each) for each in row) for row in rows)
    first = list(itertools.islice(iterator, DRAWN_ROWS + 1))
    if not first:
        return 0
    if is_terminal() and len(first) <= DRAWN_ROWS:
        _draw(columns, first)
        return len(first)
    return _write_plain(columns, first, iterator)


def _write_plain(
    columns: Sequence[str], first: list[tuple[str, ...]], rest: Iterator[tuple[str, ...]]
) -> int:
    widths = [
        max(len(name), *(width(row[index]) for row in first[:MEASURED_ROWS]))
        for index, name in enumerate(columns)
    ]
    count = 0
    click.echo(_line([name.upper() for name in columns], widths))
    for row in itertools.chain(first, rest):
        click.echo(_line(row, widths))
        count += 1
    return count


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(pad(text, columns) for text, columns in zip(row, widths, strict=True)).rstrip()


def _draw(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(text, style=STYLES.get(text.partition(" ")[0].rstrip(","), "")) for text in row))
    Console().print(table)
