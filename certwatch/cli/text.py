"""Text from certificates, servers and files, made safe for a terminal and for tables. They may say anything."""

import unicodedata
from collections.abc import Iterable, Sequence

from certwatch.model.shown import common_name, shown

__all__ = ["cell", "common_name", "first_of", "lines", "pad", "shown", "width"]

#: Longer cells are cut in tables. JSON and CSV have everything.
MAX_CELL = 120


def cell(text: str) -> str:
    text = shown(text)
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def width(text: str) -> int:
    """Columns on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )


def pad(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))


def first_of(items: Sequence[str], *, most: int = 1) -> str:
    """The first, and how many more."""
    if not items:
        return "—"
    more = f" +{len(items) - most}" if len(items) > most else ""
    return " ".join(items[:most]) + more


def lines(rows: Iterable[tuple[str, str]], *, indent: int = 0) -> Iterable[str]:
    """Name and value, aligned; rows without a value are left out."""
    kept = [(name, value) for name, value in rows if value]
    columns = max((width(name) for name, _ in kept), default=0)
    for name, value in kept:
        yield " " * indent + pad(name, columns) + "  " + value
