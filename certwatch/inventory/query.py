"""From what is asked (`list`, `findings`, `show`) to ids in order. Whatever people type most is found by an index;
only a part of a subject takes reading through all of them."""

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from certwatch.inventory.failures import Gone
from certwatch.inventory.instants import to_micros
from certwatch.inventory.ranges import between
from certwatch.inventory.reversed_names import reverse
from certwatch.inventory.session import LARGEST, Session
from certwatch.inventory.store import FindingQuery, Query
from certwatch.inventory.text import storable
from certwatch.model.finding import SEVERITIES

_HEX = re.compile(r"[0-9a-f]+")
#: What could be a host's name or address: then those who have exactly that name are meant, if there are any.
_NAME = re.compile(r"[^\s=,*]+[.:@][^\s=,*]+")

#: By `Query.sort`: what to order by, with the columns of `certificates` (c) and `issuers` (i).
_ORDER = {
    "not_after": "c.not_after",
    "not_before": "c.not_before",
    "subject": "lower(c.subject)",
    "issuer": "lower(i.name)",
    "first_seen": "(SELECT min(s.first_seen) FROM sightings s WHERE s.certificate = c.id)",
    "locations": "(SELECT count(DISTINCT s.location) FROM sightings s WHERE s.certificate = c.id)",
}


@dataclass(slots=True)
class _Where:
    conditions: list[str]
    parameters: list[Any]

    def add(self, condition: str, *parameters: object) -> None:
        self.conditions.append(condition)
        self.parameters += parameters


def matching(connection: Session, query: Query) -> Sequence[int]:
    """Ids of the certificates that match all but `where`, in order. `limit` is applied if nothing else filters."""
    where = _Where([], [])
    present, instants = _present(query.at)
    if query.text is not None:
        _text(connection, where, storable(query.text.strip()))
    if query.at is not None:
        where.add(f"c.id IN (SELECT s.certificate FROM sightings s WHERE {present})", *instants)
    for instant in (query.expires_before, query.expired_at):
        if instant is not None:
            where.add("c.not_after < ?", to_micros(instant))
    if query.expires_after is not None:
        where.add("c.not_after >= ?", to_micros(query.expires_after))
    if query.issuer is not None:
        where.add(
            "c.issuer IN (SELECT id FROM issuers WHERE instr(lower(name), ?) > 0)",
            storable(query.issuer.lower()),
        )
    if query.owner is not None:
        where.add(
            "c.id IN (SELECT s.certificate FROM judgements j JOIN sightings s ON s.location = j.location"
            f" WHERE j.owner = ? AND {present})",
            storable(query.owner),
            *instants,
        )
    if query.collector is not None:
        where.add(
            "c.id IN (SELECT s.certificate FROM collectors k JOIN watches w ON w.collector = k.id"
            f" JOIN sightings s ON s.location = w.location WHERE k.name = ? AND w.stopped_at IS NULL AND {present})",
            storable(query.collector),
            *instants,
        )
    direction = "DESC" if query.descending else "ASC"
    if query.after is not None:
        _after(connection, where, query)
    # Few are left by a text, sort those; do not walk all by date to meet them (SQLite has no statistics here).
    unindexed = connection.unindexed if query.text is not None else ""
    nulls = f" NULLS {'LAST' if query.descending else 'FIRST'}" if query.sort == "first_seen" else ""
    order = f"{unindexed}{_ORDER[query.sort]} {direction}{nulls}, c.id {direction}"
    unlimited = query.limit is None or query.where is not None
    issuers = "JOIN issuers i ON i.id = c.issuer" if query.sort == "issuer" else ""
    rows = connection.execute(
        f"SELECT c.id FROM certificates c {issuers}"
        f" {'WHERE ' + ' AND '.join(where.conditions) if where.conditions else ''} ORDER BY {order}"
        f"{'' if unlimited else ' LIMIT ?'}",
        where.parameters if unlimited else [*where.parameters, min(query.limit or 0, LARGEST)],
    )
    return array("q", [id for (id,) in rows])


def _after(connection: Session, where: _Where, query: Query) -> None:
    """What comes after that certificate, by the value that is sorted by and then by id. Raises Gone."""
    row = connection.execute(
        f"SELECT {_ORDER[query.sort]}, c.id FROM certificates c JOIN issuers i ON i.id = c.issuer"
        " WHERE c.fingerprint = ?",
        (query.after,),
    ).fetchone()
    if row is None or row[0] is None:  # None: seen nowhere any more
        raise Gone
    where.add(f"({_ORDER[query.sort]}, c.id) {'<' if query.descending else '>'} (?, ?)", *row)


def _present(at: datetime | None) -> tuple[str, list[int]]:
    """The sightings `s` that hold now, or held at an instant."""
    if at is None:
        return "s.ended_at IS NULL", []
    instant = to_micros(at)
    return "s.first_seen <= ? AND (s.ended_at IS NULL OR s.ended_at > ?)", [instant, instant]


def _text(connection: Session, where: _Where, text: str) -> None:
    exact = _Where([], [])
    _by_name(exact, text)
    digits = re.sub(r"[\s:]", "", text.lower())
    if _HEX.fullmatch(digits):
        serial = digits.lstrip("0") or "0"
        exact.add("SELECT id FROM certificates WHERE serial = ?", serial.zfill(len(serial) + len(serial) % 2))
        if 8 <= len(digits) <= 64:
            exact.add("SELECT id FROM certificates WHERE fingerprint BETWEEN ? AND ?", *_fingerprints(digits))
    if "://" in text:
        exact.add(
            "SELECT s.certificate FROM locations l JOIN sightings s ON s.location = l.id"
            f" WHERE {between('l.uri', '?', '?')}",
            *(text, text + "\U0010ffff") * 2,
        )
    found = " UNION ".join(exact.conditions)
    condition = f"c.id IN ({found})"
    if text.startswith("*.") or (
        (_NAME.fullmatch(text) or _HEX.fullmatch(digits))
        and connection.execute(f"SELECT EXISTS ({found})", exact.parameters).fetchone()[0]
    ):
        where.add(condition, *exact.parameters)
    else:
        where.add(f"({condition} OR instr(lower(c.subject), ?) > 0)", *exact.parameters, text.lower())


def _by_name(exact: _Where, text: str) -> None:
    kind, _, value = text.partition(":")
    name = value if kind in ("dns", "ip", "email", "uri") else text
    if name.startswith("*."):
        domain = reverse(name[2:])
        # "/" is what follows "." in ASCII: the range holds everything that ends in ".example.com".
        exact.add(
            "SELECT certificate FROM names WHERE reversed = ? OR (reversed >= ? AND reversed < ?)",
            domain,
            domain + ".",
            domain + "/",
        )
        return
    try:
        name = str(ip_address(name))
    except ValueError:
        pass
    exact.add("SELECT certificate FROM names WHERE reversed = ?", reverse(name))


def _fingerprints(prefix: str) -> tuple[bytes, bytes]:
    """The first and the last fingerprint that begins so (lower-case hex)."""
    return bytes.fromhex(prefix.ljust(64, "0")), bytes.fromhex(prefix.ljust(64, "f"))


def by_fingerprint(connection: Session, prefix: str, *, limit: int) -> Sequence[int]:
    digits = re.sub(r"[\s:]", "", prefix.lower())
    if not _HEX.fullmatch(digits) or len(digits) > 64:
        return []
    return [
        id
        for (id,) in connection.execute(
            "SELECT id FROM certificates WHERE fingerprint BETWEEN ? AND ? ORDER BY fingerprint LIMIT ?",
            (*_fingerprints(digits), limit),
        )
    ]


def finding_conditions(connection: Session, query: FindingQuery) -> tuple[str, list[Any]]:
    """SQL over findings `f`, and its parameters. Raises Gone."""
    where = _Where(["TRUE" if query.all else "f.resolved_at IS NULL"], [])
    if query.severity is not None:
        where.add("f.severity = ?", SEVERITIES.index(query.severity))
    if query.rule is not None:
        where.add("f.rule = ?", storable(query.rule))
    if query.owner is not None:
        where.add("f.owner = ?", storable(query.owner))
    if not query.silenced:
        where.add("f.silence IS NULL")
    if query.location is not None:
        where.add("f.location = (SELECT id FROM locations WHERE uri = ?)", storable(query.location))
    if query.fingerprint is not None:
        where.add("f.fingerprint = ?", query.fingerprint)
    if query.after is not None:
        row = connection.execute(
            "SELECT severity, opened_at, id FROM findings WHERE id = ?", (query.after,)
        ).fetchone()
        if row is None:
            raise Gone
        where.add("(f.severity, f.opened_at, f.id) > (?, ?, ?)", *row)
    return " AND ".join(where.conditions), where.parameters
