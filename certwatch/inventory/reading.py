"""Reading, of whatever store: each page of a call one short snapshot, so that none keeps the database from cleaning up."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from itertools import islice

from certwatch.inventory import lints, marks, silences, totals
from certwatch.inventory.books import load_books
from certwatch.inventory.check import check
from certwatch.inventory.entries import Entries
from certwatch.inventory.expected import load_endpoints
from certwatch.inventory.findings import read_findings
from certwatch.inventory.instants import from_micros, to_micros
from certwatch.inventory.issuers import load_issuers
from certwatch.inventory.neighbours import load_neighbours
from certwatch.inventory.query import by_fingerprint, finding_conditions, matching
from certwatch.inventory.rhythm import load_renewals
from certwatch.inventory.scans import read_scans
from certwatch.inventory.served import CertificateCache, load_served
from certwatch.inventory.session import LARGEST, Session
from certwatch.inventory.sharing import load_sharers, load_withdrawn
from certwatch.inventory.store import Counts, Due, Entry, FindingQuery, OwnerCount, Query, Unlinted
from certwatch.inventory.text import storable
from certwatch.inventory.twins import load_twins
from certwatch.model.finding import SEVERITIES, Finding, FindingID, Severity
from certwatch.model.location import LocationURI
from certwatch.model.mark import Mark
from certwatch.model.observation import Scan
from certwatch.model.sighting import Served, Sighting
from certwatch.model.silence import Silence

#: Rows built at once when a call streams.
PAGE = 500

#: Entries built at once: each may have `MAX_PLACES`.
ENTRIES = 100


class InventoryReader(ABC):
    """Keeps the promise of `store.Reader` over a store's snapshots. What streams sees each page as of one instant;
    between pages the writers go on, and what is gone by then is left out."""

    def __init__(self) -> None:
        self._cache = CertificateCache()

    @abstractmethod
    def _snapshot(self) -> AbstractContextManager[Session]:
        """What is read within is of one instant. Raises InventoryError, "too-long" past the time that is left."""

    def due(self, now: datetime, limit: int) -> list[Due]:
        instant = to_micros(now)
        with self._snapshot() as connection:
            revisions: dict[int, tuple[int, int]] = {
                location: (revision, judged)
                for location, revision, judged in connection.execute(
                    "SELECT location, revision, judged FROM judgements WHERE due_at <= ?"
                    " ORDER BY due_at LIMIT ?",
                    (instant, limit),
                )
            }
            places = load_served(connection, self._cache, list(revisions))
            neighbours = load_neighbours(connection, self._cache, places)
            sharers = load_sharers(connection, self._cache, places)
            withdrawn = load_withdrawn(connection, places)
            books = load_books(connection, self._cache, places)
            issuers = load_issuers(connection, self._cache, places)
            linted = lints.load(connection, places)
            renewed = load_renewals(connection, places)
            endpoints = load_endpoints(connection, places)
            twins = load_twins(connection, places)
        return [
            Due(
                served=served,
                revision=revision,
                changed=judged != revision,
                neighbours=neighbours.get(served.id, ()),
                issuers=issuers.get(served.id, ()),
                sharers=sharers.get(served.id, ()),
                withdrawn_at=withdrawn.get(served.id),
                books=books.get(served.id),
                lints=linted.get(served.id, {}),
                renewals=renewed.get(served.id, ()),
                endpoints=endpoints.get(served.id, ()),
                twins=twins.get(served.id, ()),
            )
            for served in places
            for revision, judged in (revisions[served.id],)
        ]

    def next_due(self) -> datetime | None:
        with self._snapshot() as connection:
            due_at: int | None
            (due_at,) = connection.execute(
                "SELECT min(due_at) FROM judgements WHERE due_at IS NOT NULL"
            ).fetchone()
        return from_micros(due_at)

    def live(self) -> Iterator[Served]:
        last = 0
        while True:
            with self._snapshot() as connection:
                ids = [
                    id
                    for (id,) in connection.execute(
                        "SELECT id FROM locations WHERE id > ? AND retired_at IS NULL ORDER BY id LIMIT ?",
                        (last, PAGE),
                    )
                ]
                page = load_served(connection, self._cache, ids)
            yield from page
            if not ids:
                return
            last = ids[-1]

    def open_findings(self) -> Iterator[Finding]:
        last = FindingID(0)
        while True:
            with self._snapshot() as connection:
                page = read_findings(
                    connection, "f.id > ? AND f.resolved_at IS NULL ORDER BY f.id LIMIT ?", (last, PAGE)
                )
            yield from page
            if not page:
                return
            last = page[-1].id

    def last_scans(self) -> Sequence[Scan]:
        with self._snapshot() as connection:
            return read_scans(
                connection,
                "c.abandoned = 0 AND s.id = (SELECT max(o.id) FROM scans o"
                " WHERE o.collector = c.id AND o.finished_at IS NOT NULL)",
            )

    def list(self, query: Query, now: datetime) -> Iterator[Entry]:
        for instant in (query.at, query.expires_before, query.expired_at):
            if instant is not None:
                to_micros(instant)  # a naive one is the caller's fault and no damage
        with self._snapshot() as connection:
            ids = matching(connection, query)
        entries = Entries(self._cache, at=query.at, now=now)
        shown = 0
        # The first page is small: who looks for one name does not wait for more to be parsed.
        start, size = 0, 20
        while start < len(ids):
            with self._snapshot() as connection:
                page = entries.load(connection, ids[start : start + size])
            start, size = start + size, ENTRIES
            for entry in page:
                if query.where is not None and not query.where(entry):
                    continue
                if query.limit is not None and shown >= query.limit:
                    return
                shown += 1
                yield entry

    def certificate(self, fingerprint_prefix: str, now: datetime) -> Sequence[Entry]:
        with self._snapshot() as connection:
            ids = by_fingerprint(connection, fingerprint_prefix, limit=20)
            return Entries(self._cache, at=None, now=now).load(connection, ids)

    def served(self, uri: LocationURI) -> Served | None:
        with self._snapshot() as connection:
            row = connection.execute("SELECT id FROM locations WHERE uri = ?", (storable(uri),)).fetchone()
            return None if row is None else load_served(connection, self._cache, [row[0]])[0]

    def history(self, uri: LocationURI) -> Sequence[Sighting]:
        with self._snapshot() as connection:
            rows = connection.execute(
                """
                SELECT s.certificate, s.position, s.first_seen,
                       coalesce(s.last_seen, (SELECT max(k.served) FROM looks k WHERE k.location = l.id)), s.ended_at
                FROM locations l JOIN sightings s ON s.location = l.id
                WHERE l.uri = ? ORDER BY s.first_seen DESC, s.position
                """,
                (storable(uri),),
            ).fetchall()
            certificates = self._cache.get(connection, {row[0] for row in rows})
        return [
            Sighting(
                location=uri,
                certificate=certificates[certificate],
                position=position,
                first_seen=from_micros(first_seen),
                last_seen=from_micros(last_seen),
                ended_at=from_micros(ended_at),
            )
            for certificate, position, first_seen, last_seen, ended_at in rows
        ]

    def findings(self, query: FindingQuery) -> Iterator[Finding]:
        if query.where is not None:
            limit = None if query.limit is None else min(query.limit, LARGEST)
            return islice(self._filtered(query, query.where), limit)
        return self._findings(query)

    def _filtered(
        self, query: FindingQuery, where: Callable[[Finding, Served | None], bool]
    ) -> Iterator[Finding]:
        served: Served | None = None
        for finding in self._findings(replace(query, limit=None)):
            if served is None or served.location.uri != finding.location:
                served = self.served(finding.location)
            if where(finding, served):
                yield finding

    def _findings(self, query: FindingQuery) -> Iterator[Finding]:
        with self._snapshot() as connection:
            conditions, parameters = finding_conditions(connection, query)
            ids = [
                id
                for (id,) in connection.execute(
                    f"SELECT f.id FROM findings f WHERE {conditions} ORDER BY f.severity, f.opened_at, f.id"
                    f"{'' if query.limit is None else ' LIMIT ?'}",
                    parameters if query.limit is None else [*parameters, min(query.limit, LARGEST)],
                )
            ]
        for start in range(0, len(ids), PAGE):
            page = ids[start : start + PAGE]
            with self._snapshot() as connection:
                marks = ",".join("?" * len(page))
                found = {each.id: each for each in read_findings(connection, f"f.id IN ({marks})", page)}
            yield from (found[id] for id in page if id in found)

    def finding(self, id: FindingID) -> Finding | None:
        if id > LARGEST:
            return None
        with self._snapshot() as connection:
            found = read_findings(connection, "f.id = ?", (id,))
        return found[0] if found else None

    def unlinted(self, limit: int, *, linter: str) -> Sequence[Unlinted]:
        with self._snapshot() as connection:
            return lints.unlinted(connection, limit, linter=linter)

    def silences(self, holding_at: datetime | None = None) -> Sequence[Silence]:
        with self._snapshot() as connection:
            return silences.read_silences(connection, None if holding_at is None else to_micros(holding_at))

    def silences_revision(self) -> int:
        with self._snapshot() as connection:
            return silences.revision(connection)

    def marks(self) -> Sequence[Mark]:
        with self._snapshot() as connection:
            return marks.read_marks(connection)

    def marks_revision(self) -> int:
        with self._snapshot() as connection:
            return marks.revision(connection)

    def counts(self) -> Counts:
        with self._snapshot() as connection:
            certificates = totals.read(connection, "certificates")
            # Each by an index that is short.
            retired, failing = connection.execute(
                """
                SELECT (SELECT count(*) FROM locations WHERE retired_at IS NOT NULL),
                       (SELECT count(*) FROM locations WHERE failing_since IS NOT NULL AND retired_at IS NULL)
                """
            ).fetchone()
            locations = totals.read(connection, "locations") - retired
            open_findings = connection.execute(
                "SELECT severity, count(*) FROM findings WHERE resolved_at IS NULL AND silence IS NULL GROUP BY severity"
            ).fetchall()
            (silenced,) = connection.execute(
                "SELECT count(*) FROM findings WHERE silence IS NOT NULL AND resolved_at IS NULL"
            ).fetchone()
        return Counts(
            certificates=certificates,
            locations=locations,
            open_findings={SEVERITIES[severity]: count for severity, count in open_findings},
            failing=failing,
            silenced=silenced,
        )

    def count_by_owner(self) -> Sequence[OwnerCount]:
        counts: dict[str, dict[Severity, int]] = {}
        with self._snapshot() as connection:
            for owner, severity, count in connection.execute(
                "SELECT owner, severity, count(*) FROM findings WHERE resolved_at IS NULL AND silence IS NULL"
                " GROUP BY owner, severity"
            ):
                counts.setdefault(owner, {})[SEVERITIES[severity]] = count
        result = [OwnerCount(owner=owner, open_findings=found) for owner, found in counts.items()]
        result.sort(key=lambda each: ([-each.open_findings.get(it, 0) for it in SEVERITIES], each.owner))
        return result

    def check(self) -> Sequence[str]:
        with self._snapshot() as connection:
            return check(connection)
