"""How many certificates and locations there are, counted as they come and go: to count the rows takes a tenth of a second a
million."""

from typing import Literal, get_args

from certwatch.inventory.session import Session

Total = Literal["certificates", "locations"]


def grow(connection: Session, total: Total, by: int) -> None:
    """So many came, or went. Within the transaction that wrote them; those take turns."""
    if by:
        connection.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = meta.value + excluded.value",
            (total, by),
        )


def recount(connection: Session) -> None:
    """By the rows: a process of an older version that went on writing beside an upgrade counted nothing. Within the
    transaction of the writer."""
    for total in get_args(Total):
        (count,) = connection.execute(f"SELECT count(*) FROM {total}").fetchone()
        connection.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (total, count),
        )


def read(connection: Session, total: Total) -> int:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (total,)).fetchone()
    return 0 if row is None else int(row[0])
