"""EJBCA's CertificateData and Base64CertData (doc/sql-scripts of Keyfactor/ejbca-ce).

Instants are milliseconds since 1970, -1 for none; serial numbers decimal. `updateTime` grows with every change of a row,
issuance and revocation alike.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from collectors.ca_database.ejbca_status import is_revoked
from collectors.ca_database.record import Pending, Record, WentBack, reason_of, serial_of_decimal
from collectors.ca_database.sql.database import PAGE, Database
from collectors.ca_database.sql.source import OVERLAP
from collectors.ca_database.values import to_der, to_instant, to_text

_REQUIRED = (
    "fingerprint", "base64Cert", "serialNumber", "status", "revocationDate", "revocationReason", "expireDate",
    "updateTime",
)  # fmt: skip
_MOST_PROFILES = 10_000


class EJBCATables:
    def __init__(self, database: Database, oldest: datetime) -> None:
        self._database = database
        self._oldest = int(oldest.timestamp() * 1000)
        self._table = database.table("CertificateData", _REQUIRED, ("username", "certificateProfileId"))
        self._c = self._table.c
        # Where `database.useSeparateCertificateTable` is set.
        self._bodies = (
            database.table("Base64CertData", ("fingerprint", "base64Cert"))
            if database.has_table("Base64CertData")
            else None
        )
        self._profiles = self._read_profiles()
        self._last = self._read_last()

    def _read_profiles(self) -> dict[int, str]:
        if "certificateprofileid" not in self._c or not self._database.has_table("CertificateProfileData"):
            return {}
        table = self._database.table("CertificateProfileData", ("id", "certificateProfileName"))
        return {
            row["id"]: str(row["certificateprofilename"])
            for row in self._database.rows(sa.select(*table.columns()).limit(_MOST_PROFILES))
        }

    def _read_last(self) -> tuple[int, int]:
        """Rows, and the latest change in milliseconds."""
        (row,) = self._database.rows(
            sa.select(
                sa.func.count().label("n"), sa.func.max(self._c["updatetime"]).label("last")
            ).select_from(self._table.source)
        )
        return int(row["n"]), int(row["last"] or 0)

    def is_new(self, mark: str) -> bool:
        rows, last = _parsed(mark)
        if self._last[1] < last:
            raise WentBack(
                f"{self._database.where} was last changed at {self._last[1]}, and had been at {last}"
            )
        return (rows, last) != self._last

    def can_go_on(self, mark: str) -> bool:
        return _parsed(mark)[1] > 0

    def records(self, mark: str) -> Iterator[Record]:
        fingerprint = self._c["fingerprint"]
        columns: list[sa.ColumnElement[Any]] = [*self._table.columns()]
        joined: sa.FromClause = self._table.source
        if self._bodies is not None:
            joined = joined.outerjoin(self._bodies.source, self._bodies.c["fingerprint"] == fingerprint)
            columns.append(self._bodies.c["base64cert"].label("body"))
        chosen = sa.select(*columns).select_from(joined)
        if mark:
            since = _parsed(mark)[1] - int(OVERLAP.total_seconds() * 1000)
            chosen = chosen.where(self._c["updatetime"] >= since)
        else:
            chosen = chosen.where(self._c["expiredate"] >= self._oldest)
        after: object = None
        while True:
            statement = chosen.order_by(fingerprint).limit(PAGE)
            if after is not None:
                statement = statement.where(fingerprint > after)
            page = self._database.rows(statement)
            for row in page:
                yield self._record(row)
            if len(page) < PAGE:
                return
            after = page[-1]["fingerprint"]

    def _record(self, row: sa.RowMapping) -> Record:
        serial = serial_of_decimal(row["serialnumber"])
        der, problem = to_der(
            row["base64cert"] or row.get("body"),
            f"{self._database.where}: CertificateData, fingerprint {to_text(row['fingerprint'])}",
        )
        revoked = is_revoked(row["status"], row["revocationreason"])
        number = row.get("certificateprofileid")
        return Record(
            der=der,
            problem=problem,
            serial=serial,
            place="" if serial else f"row-{to_text(row['fingerprint'])}",
            revoked=revoked,
            revoked_at=to_instant(row["revocationdate"]) if revoked else None,
            reason=reason_of(row["revocationreason"]) if revoked else None,
            requester=to_text(row.get("username")),
            profile=self._profiles.get(number, str(number)) if number is not None else None,
            not_after=to_instant(row["expiredate"]),
        )

    def mark(self) -> str:
        return json.dumps(self._last)

    def pending(self) -> Pending | None:
        return None


def _parsed(mark: str) -> tuple[int, int]:
    try:
        rows, last = json.loads(mark)
        return int(rows), int(last)
    except (ValueError, TypeError):
        return 0, 0
