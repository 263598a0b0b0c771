"""From what is asked (`list`, `findings`, `show`) to ids in order. Whatever people type most is found by an index;
only a part of a subject takes reading through all of them."""

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
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

    def __str__(self) -> str:
        return " AND ".join(self.conditions) or "TRUE"


@dataclass(frozen=True, slots=True)
class _Way:
    """A condition on a certificate `c` that other tables answer, in two ways, with the same parameters."""

    #: SELECT of the ids of all that meet it: good where they are few.
    ids: str
    #: SELECT of a row if `c` meets it: good where so many do that one meets them on every walk.
    one: str
    parameters: tuple[Any, ...]
    #: A few of `ids` are found without reading through a table.
    countable: bool = True

    @property
    def among(self) -> str:
        return f"c.id IN ({self.ids})"

    @property
    def test(self) -> str:
        # Not EXISTS: PostgreSQL would make a join of it, and read through the other table for that.
        return f"({self.one} LIMIT 1) = 1"

    def is_few(self, connection: Session) -> bool:
        (count,) = connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM ({self.ids}) k LIMIT {FEW + 1}) known", self.parameters
        ).fetchone()
        return bool(count <= FEW)


#: So many certificates are looked up and sorted within some ten milliseconds.
FEW = 5_000
#: How many certificates one walk in the order of their ends passes, step by step: of what more than `FEW` of a million meet,
#: a page is full by then, unless it lies apart.
STEPS = (500, 1_000, 2_000, 4_000, 8_000)
#: Longer pages are not walked for.
LONGEST_WALK = 200


def matching(connection: Session, query: Query) -> Sequence[int]:
    """Ids of the certificates that match all but `where`, in order. `limit` is applied if nothing else filters."""
    plain, ways = _Where([], []), _ways(connection, query)
    for instant in (query.expires_before, query.expired_at):
        if instant is not None:
            plain.add("c.not_after < ?", to_micros(instant))
    if query.expires_after is not None:
        plain.add("c.not_after >= ?", to_micros(query.expires_after))
    if query.after is not None:
        _after(connection, plain, query)
    limit = None if query.where is not None or query.limit is None else min(query.limit, LARGEST)
    few = None
    if limit is not None or len(ways) > 1:
        few = next((way for way in ways if way.countable and way.is_few(connection)), None)
    if few is None and ways and limit is not None and limit <= LONGEST_WALK and query.sort == "not_after":
        found = _walk(connection, plain, ways, limit, descending=query.descending)
        if found is not None:
            return found
    for way in ways:
        plain.add(way.among if few in (None, way) else way.test, *way.parameters)
    direction = "DESC" if query.descending else "ASC"
    # Few are left, sort those; do not walk all by date to meet them (SQLite has no statistics here).
    unindexed = connection.unindexed if few is not None or query.text is not None else ""
    nulls = f" NULLS {'LAST' if query.descending else 'FIRST'}" if query.sort == "first_seen" else ""
    order = f"{unindexed}{_ORDER[query.sort]} {direction}{nulls}, c.id {direction}"
    issuers = "JOIN issuers i ON i.id = c.issuer" if query.sort == "issuer" else ""
    rows = connection.execute(
        f"SELECT c.id FROM certificates c {issuers} WHERE {plain} ORDER BY {order}"
        f"{'' if limit is None else ' LIMIT ?'}",
        plain.parameters if limit is None else [*plain.parameters, limit],
    )
    return array("q", [id for (id,) in rows])


def _walk(
    connection: Session, plain: _Where, ways: Sequence[_Way], limit: int, *, descending: bool
) -> Sequence[int] | None:
    """The first that meet everything, by walking the certificates in the order of their ends. None: not all of them were
    met on the way."""
    direction, beyond = ("DESC", "<") if descending else ("ASC", ">")
    tests = _Where([way.test for way in ways], [each for way in ways for each in way.parameters])
    found = array("q")
    cursor = _Where([], [])
    for step in STEPS:
        rows = connection.execute(
            f"SELECT c.not_after, c.id FROM certificates c WHERE {plain} AND {cursor}"
            f" ORDER BY c.not_after {direction}, c.id {direction} LIMIT ?",
            [*plain.parameters, *cursor.parameters, step],
        ).fetchall()
        if not rows:
            return found
        ids = [id for _, id in rows]
        passed = {
            id
            for (id,) in connection.execute(
                f"SELECT c.id FROM certificates c WHERE c.id IN ({','.join(map(str, ids))}) AND {tests}",
                tests.parameters,
            )
        }
        found.extend([id for id in ids if id in passed])
        if len(found) >= limit or len(rows) < step:
            return found[:limit]
        cursor = _Where([f"(c.not_after, c.id) {beyond} (?, ?)"], list(rows[-1]))
    return None


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


def _ways(connection: Session, query: Query) -> list[_Way]:
    ways = []
    present, instants = "s.ended_at IS NULL", tuple[int, ...]()
    if query.at is not None:
        instant = to_micros(query.at)
        present, instants = "s.first_seen <= ? AND (s.ended_at IS NULL OR s.ended_at > ?)", (instant, instant)
    if query.text is not None:
        ways.append(_text(connection, storable(query.text.strip())))
    if query.issuer is not None:
        issuers = "SELECT id FROM issuers WHERE instr(lower(name), ?) > 0"
        ways.append(
            _Way(
                f"SELECT id FROM certificates WHERE issuer IN ({issuers})",
                f"SELECT 1 WHERE c.issuer IN ({issuers})",
                (storable(query.issuer.lower()),),
            )
        )
    if query.owner is not None:
        # Said again, for the index that has the places with an owner: SQLite does not see it from a parameter.
        owned = "j.owner = ? AND j.owner <> ''" if query.owner else "j.owner = ?"
        ways.append(
            _Way(
                "SELECT s.certificate FROM judgements j JOIN sightings s ON s.location = j.location"
                f" WHERE {owned} AND {present}",
                "SELECT 1 FROM sightings s CROSS JOIN judgements j ON j.location = s.location"
                f" WHERE s.certificate = c.id AND {owned} AND {present}",
                (storable(query.owner), *instants),
            )
        )
    if query.collector is not None:
        ways.append(
            _Way(
                "SELECT s.certificate FROM collectors k JOIN watches w ON w.collector = k.id"
                f" JOIN sightings s ON s.location = w.location WHERE k.name = ? AND w.stopped_at IS NULL AND {present}",
                "SELECT 1 FROM sightings s CROSS JOIN watches w ON w.location = s.location"
                " CROSS JOIN collectors k ON k.id = w.collector"
                f" WHERE s.certificate = c.id AND k.name = ? AND w.stopped_at IS NULL AND {present}",
                (storable(query.collector), *instants),
            )
        )
    if query.at is not None:
        ways.append(
            _Way(
                f"SELECT s.certificate FROM sightings s WHERE {present}",
                f"SELECT 1 FROM sightings s WHERE s.certificate = c.id AND {present}",
                instants,
                countable=False,
            )
        )
    return ways


def _text(connection: Session, text: str) -> _Way:
    name, named = _name(text)
    ways = [
        _Way(
            f"SELECT certificate FROM names WHERE {name}",
            f"SELECT 1 FROM names n INDEXED BY names_by_certificate WHERE n.certificate = c.id AND ({name})",
            named,
        )
    ]
    digits = re.sub(r"[\s:]", "", text.lower())
    if _HEX.fullmatch(digits):
        serial = digits.lstrip("0") or "0"
        ways.append(_of_itself("serial = ?", serial.zfill(len(serial) + len(serial) % 2)))
        if 8 <= len(digits) <= 64:
            ways.append(_of_itself("fingerprint BETWEEN ? AND ?", *_fingerprints(digits)))
    if "://" in text:
        near = between("l.uri", "?", "?")
        ways.append(
            _Way(
                f"SELECT s.certificate FROM locations l JOIN sightings s ON s.location = l.id WHERE {near}",
                "SELECT 1 FROM sightings s CROSS JOIN locations l ON l.id = s.location"
                f" WHERE s.certificate = c.id AND {near}",
                (text, text + "\U0010ffff") * 2,
            )
        )
    exact = _either(ways)
    if text.startswith("*.") or (
        (_NAME.fullmatch(text) or _HEX.fullmatch(digits))
        and connection.execute(f"SELECT EXISTS ({exact.ids})", exact.parameters).fetchone()[0]
    ):
        return exact
    return _either([exact, _of_itself("instr(lower(subject), ?) > 0", text.lower())], countable=False)


def _of_itself(condition: str, *parameters: object) -> _Way:
    """By a column of its own, whose name no other table has that is asked beside it."""
    return _Way(
        f"SELECT id FROM certificates WHERE {condition}",
        f"SELECT 1 FROM certificates k WHERE k.id = c.id AND {condition}",
        parameters,
    )


def _either(ways: Sequence[_Way], *, countable: bool = True) -> _Way:
    return _Way(
        " UNION ALL ".join(way.ids for way in ways),
        " UNION ALL ".join(way.one for way in ways),
        tuple(each for way in ways for each in way.parameters),
        countable=countable,
    )


def _name(text: str) -> tuple[str, tuple[str, ...]]:
    """A condition on names, and its parameters."""
    kind, _, value = text.partition(":")
    name = value if kind in ("dns", "ip", "email", "uri") else text
    if name.startswith("*."):
        domain = reverse(name[2:])
        # "/" is what follows "." in ASCII: the range holds everything that ends in ".example.com".
        return "reversed = ? OR (reversed >= ? AND reversed < ?)", (domain, domain + ".", domain + "/")
    try:
        name = str(ip_address(name))
    except ValueError:
        pass
    return "reversed = ?", (reverse(name),)


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
