"""Certificates with where they are, from their rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from certwatch.inventory.instants import from_micros, to_micros
from certwatch.inventory.scans import look_error
from certwatch.inventory.served import CertificateCache, in_chunks, load_watchers
from certwatch.inventory.session import Session
from certwatch.inventory.store import COUNTED, MAX_PLACES, Entry, Place
from certwatch.model.certificate import Certificate
from certwatch.model.lifecycle import presence, validity
from certwatch.model.location import LocationURI, standing_of
from certwatch.model.observation import LookError

_SIGHTINGS = """
SELECT s.certificate, s.location, s.position, s.first_seen,
       coalesce(s.last_seen, (SELECT max(k.served) FROM looks k WHERE k.location = s.location)) AS last_seen, s.ended_at
FROM sightings s WHERE
"""


class _Sighting(NamedTuple):
    certificate: int
    location: int
    position: int
    first_seen: int
    last_seen: int
    ended_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is known of where one certificate is."""

    #: At most `MAX_PLACES`, those that last first.
    sightings: list[_Sighting]
    first_seen: int
    last_seen: int
    locations: int
    more: bool


class Entries:
    """Builds entries, now or as of an instant. The caller holds a snapshot."""

    def __init__(self, cache: CertificateCache, *, at: datetime | None, now: datetime) -> None:
        self._cache = cache
        self._at = at
        self._now = now if at is None else at
        if at is None:
            self._present, self._instants = "TRUE", list[int]()
        else:
            instant = to_micros(at)
            self._present = "s.first_seen <= ? AND (s.ended_at IS NULL OR s.ended_at > ?)"
            self._instants = [instant, instant]

    def load(self, connection: Session, ids: Sequence[int]) -> list[Entry]:
        """In the order of `ids`; those that exist and were seen."""
        known = self._known(connection, ids)
        certificates = self._cache.get(connection, known)
        locations = _load_locations(
            connection, {each.location for one in known.values() for each in one.sightings}
        )
        return [
            self._entry(certificates[id], known[id], locations)
            for id in ids
            if id in known and id in certificates
        ]

    def _known(self, connection: Session, ids: Sequence[int]) -> dict[int, _Known]:
        if not ids:
            return {}
        marks = ",".join("?" * len(ids))
        # Up to what tells few from many: an intermediate may have millions.
        counts: dict[int, int] = dict(
            connection.execute(
                "SELECT c.id, (SELECT count(*) FROM (SELECT 1 FROM sightings s"
                f" WHERE s.certificate = c.id AND {self._present} LIMIT {MAX_PLACES + 1}) known)"
                f" FROM certificates c WHERE c.id IN ({marks})",
                [*self._instants, *ids],
            )
        )
        few = [id for id, count in counts.items() if 0 < count <= MAX_PLACES]
        rows: dict[int, list[_Sighting]] = {id: [] for id in few}
        if few:  # for an empty list SQLite would read the whole table
            for row in connection.execute(
                f"{_SIGHTINGS} s.certificate IN ({','.join('?' * len(few))}) AND {self._present}",
                [*few, *self._instants],
            ):
                rows[row[0]].append(_Sighting._make(row))
        known = {
            id: _Known(
                sightings=sightings,
                first_seen=min(each.first_seen for each in sightings),
                last_seen=max(each.last_seen for each in sightings),
                locations=len({each.location for each in sightings}),
                more=False,
            )
            for id, sightings in rows.items()
        }
        many = [id for id, count in counts.items() if count > MAX_PLACES]
        return known | {id: self._many(connection, id) for id in many}

    def _many(self, connection: Session, id: int) -> _Known:
        """An intermediate that is everywhere: counted to an end that it need not reach, and named in part."""
        # NULLs come first: the order of index sightings_by_certificate.
        rows = [
            _Sighting._make(row)
            for row in connection.execute(
                f"{_SIGHTINGS} s.certificate = ? AND {self._present} ORDER BY s.ended_at NULLS FIRST LIMIT ?",
                [id, *self._instants, MAX_PLACES],
            )
        ]
        first_seen, ended, locations, sightings = connection.execute(
            "SELECT min(first_seen), max(last_seen), count(DISTINCT location), count(*)"
            " FROM (SELECT s.first_seen, s.last_seen, s.location FROM sightings s"
            f" WHERE s.certificate = ? AND {self._present} ORDER BY s.ended_at NULLS FIRST LIMIT ?) known",
            [id, *self._instants, COUNTED + 1],
        ).fetchone()
        return _Known(
            sightings=rows,
            first_seen=first_seen,
            last_seen=max([each.last_seen for each in rows] + ([] if ended is None else [ended])),
            locations=locations,
            more=sightings > COUNTED,
        )

    def _entry(self, certificate: Certificate, known: _Known, locations: "dict[int, _Location]") -> Entry:
        standings = {each.location: standing_of(locations[each.location].uri) for each in known.sightings}
        # As of an instant, all of them lasted then.
        lasting = {
            standings[each.location]
            for each in known.sightings
            if each.ended_at is None or self._at is not None
        }
        return Entry(
            certificate=certificate,
            validity=validity(certificate, self._now),
            presence=presence(
                lasting=lasting,
                ended=set(standings.values()) - lasting,
                locations_live=sum(
                    locations[each].live for each, standing in standings.items() if standing != "recorded"
                ),
            ),
            first_seen=from_micros(known.first_seen),
            last_seen=from_micros(known.last_seen),
            locations=known.locations,
            more=known.more,
            places=_places(known.sightings, locations),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Location:
    uri: LocationURI
    live: bool
    owner: str
    collectors: tuple[str, ...]
    labels: dict[str, str]
    error: LookError | None


def _load_locations(connection: Session, ids: set[int]) -> dict[int, _Location]:
    ordered = sorted(ids)
    watchers = load_watchers(connection, ordered)
    return {
        id: _Location(
            uri=LocationURI(uri),
            live=retired_at is None,
            owner=owner,
            collectors=watchers[id][0],
            labels=watchers[id][1],
            error=look_error(kind, message),
        )
        for id, uri, retired_at, owner, kind, message in in_chunks(
            connection,
            "SELECT l.id, l.uri, l.retired_at, j.owner, l.error_kind, l.error_message"
            " FROM locations l JOIN judgements j ON j.location = l.id WHERE l.id IN ({})",
            ordered,
        )
    }


def _places(sightings: Sequence[_Sighting], locations: dict[int, _Location]) -> tuple[Place, ...]:
    """One for each place in a location's chain, over all the spans there; live first, then the last ended."""
    spans: dict[tuple[int, int], list[_Sighting]] = {}
    for each in sightings:
        spans.setdefault((each.location, each.position), []).append(each)
    places = []
    for (id, position), here in spans.items():
        location = locations[id]
        ended = [span.ended_at for span in here if span.ended_at is not None]
        places.append(
            Place(
                location=location.uri,
                position=position,
                first_seen=from_micros(min(span.first_seen for span in here)),
                last_seen=from_micros(max(span.last_seen for span in here)),
                ended_at=None if len(ended) < len(here) else from_micros(max(ended)),
                owner=location.owner,
                collectors=location.collectors,
                labels=location.labels,
                error=location.error,
            )
        )
    places.sort(key=lambda place: (place.location, place.position))
    places.sort(
        key=lambda place: place.ended_at.timestamp() if place.ended_at else float("inf"), reverse=True
    )
    return tuple(places)
