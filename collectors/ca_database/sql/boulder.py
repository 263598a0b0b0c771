"""Boulder's certificates and certificateStatus (sa/db of letsencrypt/boulder).

`id` grows by one with each certificate; a revocation changes `revokedDate` in place. What stands in precertificates only
was never handed out; newer versions keep linting certificates there, which nobody signed for use.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collectors.ca_database.record import Pending, Record, WentBack, reason_of, rfc3339, serial_of_hex
from collectors.ca_database.sql.database import PAGE, Database
from collectors.ca_database.sql.source import OVERLAP, OVERLAP_ROWS
from collectors.ca_database.values import to_der, to_instant, to_text


class BoulderTables:
    def __init__(self, database: Database, oldest: datetime) -> None:
        self._database = database
        self._oldest = oldest.replace(tzinfo=None)
        self._table = database.table("certificates", ("id", "serial", "der", "expires"), ("registrationID",))
        self._status = database.table(
            "certificateStatus", ("serial", "status", "revokedDate", "revokedReason")
        )
        self._c, self._s = self._table.c, self._status.c
        self._state = self._read_state()

    def _read_state(self) -> tuple[int, str, str]:
        """Last id, its serial number, last revocation."""
        last = self._database.rows(
            sa.select(self._c["id"].label("id"), self._c["serial"].label("serial"))
            .order_by(self._c["id"].desc())
            .limit(1)
        )
        (row,) = self._database.rows(
            sa.select(sa.func.max(self._s["revokeddate"]).label("r")).where(self._s["status"] == "revoked")
        )
        revoked = rfc3339(to_instant(row["r"])) or "-"
        return (int(last[0]["id"]), str(last[0]["serial"]), revoked) if last else (0, "", revoked)

    def is_new(self, mark: str) -> bool:
        id, serial, revoked = _parsed(mark)
        if self._state[0] < id or self._state[2] < revoked:
            raise WentBack(f"{self._database.where} ends at id {self._state[0]}, and ended at {id}")
        there = self._database.rows(sa.select(self._c["serial"].label("serial")).where(self._c["id"] == id))
        if there and str(there[0]["serial"]) != serial:
            raise WentBack(f"{self._database.where} has another certificate at id {id} than it had")
        return (id, serial, revoked) != self._state

    def can_go_on(self, mark: str) -> bool:
        return _parsed(mark)[0] > 0

    def records(self, mark: str) -> Iterator[Record]:
        id = self._c["id"]
        joined = self._table.source.outerjoin(self._status.source, self._s["serial"] == self._c["serial"])
        columns: list[sa.ColumnElement[Any]] = [
            *self._table.columns(),
            *[self._s[name].label(name) for name in ("status", "revokeddate", "revokedreason")],
        ]
        chosen = sa.select(*columns).select_from(joined)
        if mark:
            known, _, revoked = _parsed(mark)
            lately = self._s["status"] == "revoked"
            if revoked != "-":
                since = (datetime.fromisoformat(revoked) - OVERLAP).replace(tzinfo=None)
                lately = sa.and_(lately, self._s["revokeddate"] >= since)
            chosen = chosen.where(sa.or_(id > known - OVERLAP_ROWS, lately))
        else:
            chosen = chosen.where(self._c["expires"] >= self._oldest)
        after = 0
        while True:
            page = self._database.rows(chosen.where(id > after).order_by(id).limit(PAGE))
            for row in page:
                yield self._record(row)
            if len(page) < PAGE:
                return
            after = page[-1]["id"]

    def _record(self, row: sa.RowMapping) -> Record:
        serial = serial_of_hex(to_text(row["serial"]) or "")
        der, problem = to_der(row["der"], f"{self._database.where}: certificates, id {row['id']}")
        revoked = to_text(row["status"]) == "revoked"
        account = row.get("registrationid")
        return Record(
            der=der,
            problem=problem,
            serial=serial,
            place="" if serial else f"id-{row['id']}",
            revoked=revoked,
            revoked_at=to_instant(row["revokeddate"]) if revoked else None,
            reason=reason_of(row["revokedreason"]) if revoked else None,
            requester=f"account {account}" if account is not None else None,
            not_after=to_instant(row["expires"]),
        )

    def mark(self) -> str:
        return json.dumps(self._state)

    def pending(self) -> Pending | None:
        return None


def _parsed(mark: str) -> tuple[int, str, str]:
    try:
        id, serial, revoked = json.loads(mark)
        return int(id), str(serial), str(revoked)
    except (ValueError, TypeError):
        return 0, "", "-"
