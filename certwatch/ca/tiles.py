"""The ledger as tiles (C2SP tlog-tiles): hashes and entries in files of 256, which never change once they are full."""

import re
import sqlite3
import struct

from certwatch.ct.merkle import TILE_WIDTH

#: 63 bits of leaves are levels 0 to 7.
MOST_LEVEL = 7
_PATH = re.compile(r"(?:x\d{3}/){0,6}\d{3}")


def index_of(path: str) -> int | None:
    """`x001/x234/067` is 1234067. None: it is no tile's number."""
    if _PATH.fullmatch(path) is None:
        return None
    index = int(path.replace("x", "").replace("/", ""))
    return index if written(index) == path else None


def written(index: int) -> str:
    parts = [f"{index % 1000:03d}"]
    while index := index // 1000:
        parts.append(f"x{index % 1000:03d}")
    return "/".join(reversed(parts))


def split(path: str) -> tuple[int, int] | None:
    """Number and width of `067` or `067.p/112`. None: it is neither."""
    number, partial, width = path.partition(".p/")
    index = index_of(number)
    if index is None:
        return None
    if not partial:
        return index, TILE_WIDTH
    if (
        not width.isascii()
        or not width.isdigit()
        or str(int(width)) != width
        or not 0 < int(width) < TILE_WIDTH
    ):
        return None
    return index, int(width)


def hashes(connection: sqlite3.Connection, level: int, index: int, width: int) -> bytes | None:
    """None: the tree has not grown so far."""
    first = index * TILE_WIDTH
    if level == 0:
        rows = connection.execute(
            "SELECT leaf FROM ledger WHERE position >= ? AND position < ? ORDER BY position",
            (first, first + width),
        ).fetchall()
    else:
        rows = connection.execute(
            "SELECT hash FROM nodes WHERE level = ? AND position >= ? AND position < ? ORDER BY position",
            (level, first, first + width),
        ).fetchall()
    return b"".join(hash for (hash,) in rows) if len(rows) == width else None


def entries(connection: sqlite3.Connection, index: int, width: int) -> bytes | None:
    """Each with its length before it, two bytes. None: the ledger has not so many."""
    first = index * TILE_WIDTH
    rows = connection.execute(
        "SELECT entry FROM ledger WHERE position >= ? AND position < ? ORDER BY position",
        (first, first + width),
    ).fetchall()
    if len(rows) != width:
        return None
    return b"".join(struct.pack(">H", len(entry)) + entry for (entry,) in rows)


def latest_checkpoint(connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()
    return str(row[0]) if row is not None else None
