"""cfssl's certdb (certdb/pg, certdb/mysql, certdb/sqlite of cloudflare/cfssl).

Migration 001 has no instant of issuance: then all is read when the number of rows or the last revocation has changed.
Migration 002 adds `issued_at`, empty on rows from before.
"""

import json
from collections.abc import Iterator
from datetime import datetime

import sqlalchemy as sa

from collectors.ca_database.record import Pending, Record, WentBack, reason_of, rfc3339, serial_of_decimal
from collectors.ca_database.sql.database import PAGE, Database
from collectors.ca_database.sql.source import OVERLAP
from collectors.ca_database.values import to_der, to_instant, to_text

_REQUIRED = ("serial_number", "authority_key_identifier", "status", "reason", "expiry", "revoked_at", "pem")


class CfsslTables:
    def __init__(self, database: Database, oldest: datetime) -> None:
        self._database = database
        self._oldest = oldest
        self._table = database.table("certificates", _REQUIRED, ("ca_label", "issued_at"))
        self._c = self._table.c
        # Bytes in PostgreSQL and MySQL, text in SQLite.
        self._is_revoked = sa.cast(self._c["status"], sa.LargeBinary) == b"revoked"
        self._has_issued = "issued_at" in self._c
        self._state = self._read_state()

    def _read_state(self) -> tuple[int, str, str]:
        """Rows, last revocation, last issuance."""
        revoked = sa.func.max(sa.case((self._is_revoked, self._c["revoked_at"])))
        issued = sa.func.max(self._c["issued_at"]) if self._has_issued else sa.null()
        (row,) = self._database.rows(
            sa.select(sa.func.count().label("n"), revoked.label("r"), issued.label("i")).select_from(
                self._table.source
            )
        )
        return int(row["n"]), rfc3339(to_instant(row["r"])) or "-", rfc3339(to_instant(row["i"])) or "-"

    def is_new(self, mark: str) -> bool:
        rows, _, issued = _parsed(mark)
        if self._state[0] < rows or (self._state[2] != "-" and self._state[2] < issued):
            raise WentBack(f"{self._database.where} has {self._state[0]} certificates, and had {rows}")
        return mark != self.mark()

    def can_go_on(self, mark: str) -> bool:
        # SQLite keeps instants as text, in the writer's own way.
        return self._has_issued and _parsed(mark)[2] != "-" and self._database.dialect != "sqlite"

    def records(self, mark: str) -> Iterator[Record]:
        _, revoked, issued = _parsed(mark) if mark else (0, "", "")
        since = []
        if issued:
            since.append(self._c["issued_at"] >= _bare(issued))
            if revoked != "-":
                since.append(sa.and_(self._is_revoked, self._c["revoked_at"] >= _bare(revoked)))
            else:
                since.append(self._is_revoked)
        if since:
            # No index leads to them. Without an order the database looks through its table once, as it lies, and may do so in
            # parallel; by pages it would go through all of it in the order of the serial numbers.
            few = self._database.rows(sa.select(*self._table.columns()).where(sa.or_(*since)).limit(PAGE + 1))
            if len(few) <= PAGE:
                for row in few:
                    yield self._record(row)
                return
        serial, authority = self._c["serial_number"], self._c["authority_key_identifier"]
        after: tuple[object, object] | None = None
        while True:
            # A row comparison in the form that MySQL finds an index for.
            statement = sa.select(*self._table.columns()).order_by(serial, authority).limit(PAGE)
            if after is not None:
                statement = statement.where(
                    serial >= after[0], sa.or_(serial > after[0], authority > after[1])
                )
            if since:
                statement = statement.where(sa.or_(*since))
            elif self._database.dialect != "sqlite":
                statement = statement.where(self._c["expiry"] >= _plain(self._oldest))
            page = self._database.rows(statement)
            for row in page:
                yield self._record(row)
            if len(page) < PAGE:
                return
            after = page[-1]["serial_number"], page[-1]["authority_key_identifier"]

    def _record(self, row: sa.RowMapping) -> Record:
        serial = serial_of_decimal(row["serial_number"])
        der, problem = to_der(
            row["pem"], lambda: f"{self._database.where}: certificates, serial number {serial or '?'}"
        )
        revoked = to_text(row["status"]) == "revoked"
        return Record(
            der=der,
            problem=problem,
            serial=serial,
            revoked=revoked,
            revoked_at=to_instant(row["revoked_at"]) if revoked else None,
            reason=reason_of(row["reason"]) if revoked else None,
            profile=to_text(row.get("ca_label")),
            not_after=to_instant(row["expiry"]),
        )

    def mark(self) -> str:
        return json.dumps(self._state)

    def pending(self) -> Pending | None:
        return None


def _parsed(mark: str) -> tuple[int, str, str]:
    try:
        rows, revoked, issued = json.loads(mark)
        return int(rows), str(revoked), str(issued)
    except (ValueError, TypeError):
        return 0, "-", "-"


def _bare(instant: str) -> datetime:
    return _plain(datetime.fromisoformat(instant) - OVERLAP)


def _plain(instant: datetime) -> datetime:
    """Without a zone: the connection's is UTC, and MySQL's TIMESTAMP takes none."""
    return instant.replace(tzinfo=None)
