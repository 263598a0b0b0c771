"""An inventory moved whole into another database, of whatever kind."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any

from certwatch.inventory import marks, silences
from certwatch.inventory.session import Session
from certwatch.inventory.store import InventoryError, Store
from certwatch.inventory.text import storable

#: Every table and what its rows are told apart by, what is named before what names it.
TABLES = (
    ("issuers", "id"),
    ("certificates", "id"),
    ("ders", "certificate"),
    ("names", "reversed, certificate"),
    ("collectors", "id"),
    ("scans", "id"),
    ("locations", "id"),
    ("watches", "location, collector"),
    ("looks", "location, collector"),
    ("sightings", "location, position, first_seen, certificate"),
    ("judgements", "location"),
    ("silences", "id"),
    ("findings", "id"),
    ("lints", "certificate"),
    ("marks", "id"),
)
#: Small ones, in one table or two: see `session.Session.texts`.
_META = ("clock", "silences", "marks", "linted", "certificates", "locations")
_TEXTS = ("rules", "linter")

_BATCH = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    table: str
    rows: int
    #: SHA-256 over all rows in order, the same in both.
    checksum: str


def migrate(source: Store, target: Store) -> list[Moved]:
    """Copy every row, read it again, compare counts and checksums. One transaction: all of it or nothing is there. The target
    must be empty, and nobody may write either. The source stays as it is. Raises InventoryError."""
    # Its lock is held meanwhile: what is written to the source later would be lost.
    with closing(source.writer()), ExitStack() as held, target.filling() as into:
        for table, _ in TABLES:
            if into.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None:
                raise InventoryError(
                    "other", f"the inventory to move into is not empty: it has {table}. Name one that is"
                )
        with source.snapshot() as out:
            written = _written_beside(out)
            moved = [_move(out, into, table, key) for table, key in TABLES] + [_move_meta(out, into)]
        # Silences and marks need no lock of the writer's. From here until everything is kept they wait.
        if _written_beside(held.enter_context(source.beside())) != written:
            raise InventoryError(
                "other",
                "somebody silenced or marked something in the inventory while it was moved, which would be lost."
                " Nothing was moved. Try again",
            )
        return moved


def _written_beside(session: Session) -> tuple[int, int]:
    return silences.revision(session), marks.revision(session)


def _move(out: Session, into: Session, table: str, key: str) -> Moved:
    every = f"SELECT * FROM {table} ORDER BY {key}"
    digest, count = _Digest(), 0
    rows = out.stream(every)
    while batch := [tuple(map(_kept, row)) for row in islice(rows, _BATCH)]:
        into.insert(table, batch)
        digest.add(batch)
        count += len(batch)
    if key == "id":
        into.set_last_id(table, out.last_id(table))
    again = _Digest()
    again.add(into.stream(every))
    if (again.hex(), again.count) != (digest.hex(), count):
        raise InventoryError(
            "other",
            f"table {table}: {count} rows were read and {again.count} written, or they differ. Nothing was moved",
        )
    return Moved(table=table, rows=count, checksum=digest.hex())


def _move_meta(out: Session, into: Session) -> Moved:
    digest, again = _Digest(), _Digest()
    for keys, source, target in ((_META, "meta", "meta"), (_TEXTS, out.texts, into.texts)):
        for key in keys:
            row = out.execute(f"SELECT value FROM {source} WHERE key = ?", (key,)).fetchone()
            if row is not None:
                # A store that was opened may have noted its clock.
                into.execute(f"DELETE FROM {target} WHERE key = ?", (key,))
                into.insert(target, [(key, row[0])])
                digest.add([(key, row[0])])
                again.add(
                    [(key, *into.execute(f"SELECT value FROM {target} WHERE key = ?", (key,)).fetchone())]
                )
    if again.hex() != digest.hex():
        raise InventoryError("other", "table meta: what was written differs. Nothing was moved")
    return Moved(table="meta", rows=digest.count, checksum=digest.hex())


def _kept(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value


class _Digest:
    def __init__(self) -> None:
        self._hash = sha256()
        self.count = 0

    def add(self, rows: Iterator[Sequence[Any]] | Sequence[Sequence[Any]]) -> None:
        for row in rows:
            self._hash.update(repr(tuple(row)).encode())
            self.count += 1

    def hex(self) -> str:
        return self._hash.hexdigest()
