"""Any database that a query can be asked."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from collectors.ca_database.record import (
    Pending,
    ReadFailed,
    Record,
    WentBack,
    reason_of,
    serial_of_decimal,
    serial_of_hex,
)
from collectors.ca_database.sql.database import Database
from collectors.ca_database.sql.source import OVERLAP, OVERLAP_ROWS
from collectors.ca_database.values import to_bytes, to_der, to_instant, to_text

_REVOKED = frozenset(("revoked", "r", "true", "t", "1", "yes"))
#: Rows with the mark's own value that are compared with what was there.
_MOST_WITNESSES = 100

Cursor = int | str | bytes | datetime


class QueryTables:
    def __init__(
        self,
        database: Database,
        oldest: datetime,
        *,
        query: str,
        cursor: str | None,
        pending_query: str | None,
    ) -> None:
        self._database = database
        self._query = _wrapped(query)
        self._cursor: sa.ColumnClause[Any] | None = sa.column(cursor) if cursor is not None else None
        self._pending_query = pending_query
        self._last: Cursor | None = None
        self._witness = ""

    def is_new(self, mark: str) -> bool:
        known, witness = _read_mark(mark)
        if self._cursor is None or known is None:
            return True
        (row,) = self._database.rows(
            sa.select(sa.func.max(self._cursor).label("last")).select_from(self._query)
        )
        last = _cursor(row["last"])
        if last is None or type(last) is not type(known) or last < known:  # type: ignore[operator]
            raise WentBack(f"{self._database.where} ends at {last!r}, and ended at {known!r}")
        there = self._database.rows(
            sa.select(sa.text("*"))
            .select_from(self._query)
            .where(self._cursor == _bound(known))
            .limit(_MOST_WITNESSES)
        )
        if there and witness and all(_digest(row.get("certificate")) != witness for row in there):
            raise WentBack(f"{self._database.where} has another certificate at {known!r} than it had")
        return last != known

    def can_go_on(self, mark: str) -> bool:
        return self._cursor is not None and _read_mark(mark)[0] is not None

    def records(self, mark: str) -> Iterator[Record]:
        statement = sa.select(sa.text("*")).select_from(self._query)
        if mark and self._cursor is not None:
            known, self._witness = _read_mark(mark)
            if known is not None:
                self._last = known
                statement = statement.where(self._cursor >= _bound(_before(known)))
        first = True
        for row in self._database.stream(statement):
            if first:
                self._check(row)
                first = False
            self._note(row)
            yield self._record(row)

    def _check(self, row: sa.RowMapping) -> None:
        for wanted in ("certificate", *((self._cursor.name,) if self._cursor is not None else ())):
            if wanted not in row:
                raise ReadFailed(
                    "malformed",
                    f"query: it yields no column {wanted} (but {', '.join(map(str, row))[:200]}). Name one so",
                )

    def _note(self, row: sa.RowMapping) -> None:
        if self._cursor is None:
            return
        found = _cursor(row[self._cursor.name])
        if found is None:
            return
        if self._last is None or (type(found) is type(self._last) and found > self._last):  # type: ignore[operator]
            self._last, self._witness = found, _digest(row["certificate"])

    def _record(self, row: sa.RowMapping) -> Record:
        written = row.get("serial")
        # A number is decimal; digits alone in a text may be either, and the certificate knows.
        serial = (
            serial_of_decimal(written)
            if isinstance(written, int | Decimal)
            else serial_of_hex(to_text(written) or "")
        )
        der, problem = to_der(row["certificate"], f"{self._database.where}: serial number {serial or '?'}")
        revoked_at = to_instant(row.get("revoked_at"))
        status = (to_text(row.get("status")) or "").lower()
        revoked = status in _REVOKED if status else revoked_at is not None
        return Record(
            der=der,
            problem=problem,
            serial=serial,
            place="" if serial else _digest(row["certificate"])[:16],
            revoked=revoked,
            revoked_at=revoked_at if revoked else None,
            reason=reason_of(to_text(row.get("reason"))) if revoked else None,
            requester=to_text(row.get("requester")),
            profile=to_text(row.get("profile")),
        )

    def mark(self) -> str:
        if self._last is None:
            return ""
        last = self._last
        value: list[object] = ["value", last]
        if isinstance(last, datetime):
            value = ["time", last.isoformat()]
        elif isinstance(last, bytes):
            value = ["bytes", last.hex()]
        return json.dumps([*value, self._witness])

    def pending(self) -> Pending | None:
        if self._pending_query is None:
            return None
        rows = self._database.rows(
            sa.select(sa.text("*")).select_from(_wrapped(self._pending_query)).limit(1)
        )
        values: list[object] = [*rows[0].values(), None, None] if rows else [None]
        count = values[0]
        if not isinstance(count, int):
            raise ReadFailed(
                "malformed", "pending_query: it must yield a number, and since when the oldest waits"
            )
        return Pending(count=count, since=to_instant(values[1]) if count else None)


def _wrapped(query: str) -> sa.TextClause:
    # Its colons are its own, no parameters of ours.
    inner = query.strip().rstrip(";").replace("\\", "\\\\").replace(":", "\\:")
    return sa.text(f"({inner}) AS q")


def _cursor(value: object) -> Cursor | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    return value if isinstance(value, int | str) else None


def _bound(known: Cursor) -> object:
    """As the database compares it: its zone is UTC."""
    return known.replace(tzinfo=None) if isinstance(known, datetime) else known


def _before(known: Cursor) -> Cursor:
    """A little before: what was committed later than its neighbours."""
    if isinstance(known, datetime):
        return known - OVERLAP
    return known - OVERLAP_ROWS if isinstance(known, int) else known


def _read_mark(mark: str) -> tuple[Cursor | None, str]:
    try:
        kind, value, witness = json.loads(mark)
        found: object = value
        if kind == "time":
            found = datetime.fromisoformat(value)
        elif kind == "bytes":
            found = bytes.fromhex(value)
    except (ValueError, TypeError):
        return None, ""
    return (found if isinstance(found, int | str | bytes | datetime) else None), str(witness)


def _digest(certificate: object) -> str:
    return sha256(to_bytes(certificate)).hexdigest()[:32]
