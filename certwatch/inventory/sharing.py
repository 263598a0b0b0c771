"""Which live places have a leaf with the same key: it may be at home in two worlds, or have nobody left to serve it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from certwatch.inventory.instants import from_micros
from certwatch.inventory.served import CertificateCache, in_chunks, load_served
from certwatch.inventory.session import Session
from certwatch.model.location import RECORD_KINDS
from certwatch.model.neighbour import Sharer
from certwatch.model.sighting import Served

#: Of one key; which, among more, is not said.
MOST = 50
#: Kinds of places where a certificate is not put by its owner.
_ELSEWHERE = (*RECORD_KINDS, "ocsp", "http", "https")
#: What a CA has in its books is held against where it is in use, though it is not in use there.
_ASKING = frozenset(["cadb", "ct", "ct-search"])


def load_sharers(
    connection: Session, cache: CertificateCache, places: Sequence[Served]
) -> Mapping[int, tuple[Sharer, ...]]:
    """By location's id; those without any are absent. The caller holds a snapshot."""
    keys = {
        each.id: each.chain[0].spki_sha256
        for each in places
        if each.chain
        and not each.chain[0].is_ca
        and (each.location.kind not in _ELSEWHERE or each.location.kind in _ASKING)
    }
    by_key = {key: _places(connection, key) for key in {each for each in keys.values() if each is not None}}
    wanted = {
        place: others
        for place, key in keys.items()
        if key is not None and (others := [each for each in by_key[key] if each != place][:MOST])
    }
    if not wanted:
        return {}
    loaded = load_served(connection, cache, sorted({id for ids in wanted.values() for id in ids}))
    sharers = {
        each.id: Sharer(
            location_id=each.id,
            location=each.location,
            owner=each.owner,
            certificate=each.chain[0],
        )
        for each in loaded
        if each.chain and each.retired_at is None and each.location.kind not in _ELSEWHERE
    }
    found = {place: tuple(sharers[id] for id in ids if id in sharers) for place, ids in wanted.items()}
    return {place: each for place, each in found.items() if each}


def _places(connection: Session, key: bytes) -> list[int]:
    """Locations with a leaf of this key, `MOST` and one at most: a key may be at ten thousand places, each of which asks."""
    found: list[int] = []
    for (certificate,) in connection.execute(
        "SELECT id FROM certificates WHERE substr(spki, 1, 8) = ? AND spki = ? LIMIT ?",
        (key[:8], key, MOST + 1),
    ):
        found += (
            location
            for (location,) in connection.execute(
                "SELECT location FROM sightings WHERE certificate = ? AND ended_at IS NULL AND position = 0 LIMIT ?",
                (certificate, MOST + 1 - len(found)),
            )
        )
        if len(found) > MOST:
            break
    return sorted(set(found))


def load_withdrawn(connection: Session, places: Sequence[Served]) -> Mapping[int, datetime]:
    """Of places where certificates lie, by id: when the last endpoint stopped to serve this leaf. Absent: one still
    does, or none ever did. The caller holds a snapshot."""
    stored = {
        each.id: each.chain[0].fingerprint_sha256
        for each in places
        if each.chain and not each.chain[0].is_ca and each.location.kind not in (*_ELSEWHERE, "tls")
    }
    if not stored:
        return {}
    ended = {
        bytes(fingerprint): from_micros(last)
        for fingerprint, last, lasting in in_chunks(
            connection,
            "SELECT c.fingerprint, max(s.ended_at), sum(CASE WHEN s.ended_at IS NULL THEN 1 ELSE 0 END) FROM certificates c"
            " JOIN sightings s ON s.certificate = c.id JOIN locations l ON l.id = s.location"
            " WHERE c.fingerprint IN ({}) AND s.position = 0 AND l.uri BETWEEN 'tls:' AND 'tls;' GROUP BY c.id",
            sorted(set(stored.values())),
        )
        if not lasting
    }
    return {id: ended[fingerprint] for id, fingerprint in stored.items() if fingerprint in ended}
