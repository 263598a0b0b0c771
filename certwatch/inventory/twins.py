"""Where the same issuance is known beside a place: its certificate and its precertificate are one, by the TBS (RFC 6962, 3.2).
Only where certificates of logs are in the inventory is there anything to ask."""

from collections.abc import Mapping, Sequence

from certwatch.inventory.ranges import between
from certwatch.inventory.session import Session
from certwatch.model.location import LOGGED_KINDS, Location, LocationURI
from certwatch.model.neighbour import Twin
from certwatch.model.sighting import Served

#: Of one issuance; which, among more, is not said.
MOST = 100
_ENTRIES = " OR ".join(between("uri", f"'{each}://'", f"'{each}:/~'") for each in sorted(LOGGED_KINDS))


def load_twins(connection: Session, places: Sequence[Served]) -> Mapping[int, tuple[Twin, ...]]:
    """By location's id; those without any are absent. Places that had it, and have it no more, count. The caller holds a
    snapshot."""
    (is_logged,) = connection.execute(f"SELECT EXISTS (SELECT 1 FROM locations WHERE {_ENTRIES})").fetchone()
    if not is_logged:
        return {}
    issuances = {
        each.id: each.chain[0].tbs_sha256 for each in places if each.chain and not each.chain[0].is_ca
    }
    by_tbs = {
        tbs: _places(connection, tbs) for tbs in {each for each in issuances.values() if each is not None}
    }
    found: dict[int, tuple[Twin, ...]] = {}
    for place, tbs in issuances.items():
        others = tuple(each for each in by_tbs.get(tbs or b"", ()) if each.location_id != place)
        if others:
            found[place] = others
    return found


def _places(connection: Session, tbs: bytes) -> tuple[Twin, ...]:
    rows = connection.execute(
        "SELECT l.id, l.uri, max(CASE WHEN s.ended_at IS NULL AND l.retired_at IS NULL THEN 1 ELSE 0 END)"
        " FROM certificates c JOIN sightings s ON s.certificate = c.id AND s.position = 0 JOIN locations l ON l.id = s.location"
        " WHERE substr(c.tbs, 1, 8) = ? AND c.tbs = ? GROUP BY l.id ORDER BY l.id LIMIT ?",
        (tbs[:8], tbs, MOST),
    )
    return tuple(
        Twin(
            location_id=id,
            location=Location(uri=LocationURI(uri)),
            is_live=bool(lasts),
        )
        for id, uri, lasts in rows
    )
