"""step-ca's tables of keys and values (smallstep/nosql on PostgreSQL and MySQL; smallstep/certificates, db/).

They know no instant of issuance: all is read when the number of certificates or of revocations has changed.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from certwatch.model.observation import LookError
from collectors.ca_database.record import Pending, Record, WentBack, reason_of, serial_of_decimal
from collectors.ca_database.sql.database import PAGE, Database, Table
from collectors.ca_database.values import to_bytes, to_der, to_instant, to_text

_COLUMNS = ("nkey", "nvalue")
#: Larger is not what step-ca writes.
_MAX_JSON = 64 << 10


class StepTables:
    def __init__(self, database: Database, oldest: datetime) -> None:
        self._database = database
        self._certificates = database.table("x509_certs", _COLUMNS)
        # Made by the first version that writes them.
        self._data, self._revoked = (
            database.table(name, _COLUMNS) if database.has_table(name) else None
            for name in ("x509_certs_data", "revoked_x509_certs")
        )
        self._state = [self._count(self._certificates), self._count(self._revoked)]

    def _count(self, table: Table | None) -> int:
        if table is None:
            return 0
        (row,) = self._database.rows(sa.select(sa.func.count().label("n")).select_from(table.source))
        return int(row["n"])

    def is_new(self, mark: str) -> bool:
        known = _object(mark.encode()).get("n")
        if isinstance(known, list) and len(known) == 2 and self._state[0] < known[0]:
            raise WentBack(f"{self._database.where} has {self._state[0]} certificates, and had {known[0]}")
        return known != self._state

    def can_go_on(self, mark: str) -> bool:
        return False

    def records(self, mark: str) -> Iterator[Record]:
        key = self._certificates.c["nkey"]
        columns: list[sa.ColumnElement[Any]] = [*self._certificates.columns()]
        joined: sa.FromClause = self._certificates.source
        for name, table in (("data", self._data), ("revoked", self._revoked)):
            if table is not None:
                joined = joined.outerjoin(table.source, table.c["nkey"] == key)
                columns.append(table.c["nvalue"].label(name))
        after: object = None
        while True:
            statement = sa.select(*columns).select_from(joined).order_by(key).limit(PAGE)
            if after is not None:
                statement = statement.where(key > after)
            page = self._database.rows(statement)
            for row in page:
                yield self._record(row)
            if len(page) < PAGE:
                return
            after = page[-1]["nkey"]

    def _record(self, row: sa.RowMapping) -> Record:
        serial = serial_of_decimal(to_bytes(row["nkey"]))
        where = f"{self._database.where}: x509_certs, serial number {serial or '?'}"
        der, problem = to_der(row["nvalue"], where)
        if der is None and problem is None:
            problem = LookError(kind="malformed", message=f"{where}: is empty. Have the database looked at")
        provisioner = _object(row.get("data")).get("provisioner")
        revoked = row.get("revoked") is not None
        why = _object(row.get("revoked"))
        return Record(
            der=der,
            problem=problem,
            serial=serial,
            place="" if serial else f"key-{to_bytes(row['nkey'])[:20].hex()}",
            revoked=revoked,
            revoked_at=to_instant(why.get("RevokedAt")),
            reason=reason_of(why.get("ReasonCode")) if revoked else None,
            profile=to_text(provisioner.get("name")) if isinstance(provisioner, dict) else None,
        )

    def mark(self) -> str:
        return json.dumps({"n": self._state})

    def pending(self) -> Pending | None:
        return None


def _object(value: object) -> Mapping[str, Any]:
    """Empty: nothing, or not to be read."""
    data = to_bytes(value)
    if not data or len(data) > _MAX_JSON:
        return {}
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
