"""Tables: with rules and colour on a terminal, plain and aligned elsewhere."""

import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

import click

from certwatch.cli.text import cell, pad, width

#: Rows that decide how wide plain columns are; more are written as they come, so that a million need no memory.
MEASURED_ROWS = 1000
#: With more rows a terminal gets the plain table too: it would have to be held whole to be drawn.
DRAWN_ROWS = 1000

#: Columns up to which a word is not broken on a terminal.
WHOLE_WORD = 16

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


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, spare: Sequence[str] = ()) -> int:
    """On standard output; cells are made safe. `spare`: columns that a narrow terminal does without, the first first.
    Returns how many rows there were; without any nothing is written."""
    iterator = (tuple(cell(each) for each in row) for row in rows)
    first = list(itertools.islice(iterator, DRAWN_ROWS + 1))
    if not first:
        return 0
    if is_terminal() and len(first) <= DRAWN_ROWS:
        _draw(columns, first, spare)
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


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    cells = {name: [row[index] for row in rows] for index, name in enumerate(columns)}
    widths = fitted(cells, console.width, spare)
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name, columns_given in widths.items():
        table.add_column(name, overflow="fold", width=columns_given)
    for row in rows:
        kept = [text for name, text in zip(columns, row, strict=True) if name in widths]
        table.add_row(
            *(Text(text, style=STYLES.get(text.partition(" ")[0].rstrip(","), "")) for text in kept)
        )
    console.print(table)


def fitted(cells: Mapping[str, Sequence[str]], room: int, spare: Sequence[str]) -> dict[str, int]:
    """Widths of the columns that are kept. The widest give way first, none below its longest short word."""
    least = {name: _least(name, texts) for name, texts in cells.items()}
    for name in spare:
        if _whole(least) <= room:
            break
        del least[name]
    widths = {name: max(map(width, [name, *cells[name]])) for name in least}
    while _whole(widths) > room:
        yielding = [name for name in widths if widths[name] > least[name]]
        if not yielding:
            break
        widths[max(yielding, key=widths.__getitem__)] -= 1
    return widths


def _whole(widths: Mapping[str, int]) -> int:
    """Of the table: three columns between two, one at either side."""
    return sum(widths.values()) + 3 * (len(widths) - 1) + 2


def _least(name: str, texts: Sequence[str]) -> int:
    """Words stay whole as far as they are short; what is long (a location) is broken."""
    words = [name, *(word for text in texts for word in text.split())]
    return max([columns for columns in map(width, words) if columns <= WHOLE_WORD], default=len(name))
