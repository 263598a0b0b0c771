"""How many certificates and locations there are, counted as they come and go: to count the rows takes a tenth of a second a
million."""

from typing import Literal

from certwatch.inventory.session import Session

Total = Literal["certificates", "locations"]


def grow(connection: Session, total: Total, by: int) -> None:
    """So many came, or went. Within the transaction that wrote them; those take turns."""
    if by:
        connection.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = meta.value + excluded.value",
            (total, by),
        )


def read(connection: Session, total: Total) -> int:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (total,)).fetchone()
    return 0 if row is None else int(row[0])
