"""Which live places have another leaf with a name in common: a renewal that has not arrived everywhere shows so."""

from collections.abc import Mapping, Sequence

from certwatch.inventory.instants import from_micros
from certwatch.inventory.reversed_names import reverse
from certwatch.inventory.served import CertificateCache, in_chunks
from certwatch.inventory.session import Session
from certwatch.model.certificate import Certificate, Name
from certwatch.model.location import LocationURI
from certwatch.model.neighbour import Neighbour
from certwatch.model.sighting import Served

#: Of one location; which, among more, is not said.
MOST = 50
#: Certificates of one name that are looked at: the newest.
MOST_OF_ONE_NAME = 50


def load_neighbours(
    connection: Session, cache: CertificateCache, places: Sequence[Served]
) -> Mapping[int, tuple[Neighbour, ...]]:
    """By location's id; those without any are absent. One name of each leaf is looked up: certificates for the same
    service share all of theirs, or nearly. The caller holds a snapshot."""
    names = {each.id: _looked_up(each.chain[0]) for each in places if each.chain}
    wanted = {name for name in names.values() if name is not None}
    by_name: dict[str, list[int]] = {}
    for name, certificate in in_chunks(
        connection, "SELECT reversed, certificate FROM names WHERE reversed IN ({})", sorted(wanted)
    ):
        by_name.setdefault(name, []).append(certificate)
    # Nearly every name has one certificate: then there is nothing more to read.
    shared = {name: sorted(ids)[-MOST_OF_ONE_NAME:] for name, ids in by_name.items() if len(ids) > 1}
    if not shared:
        return {}
    served_at: dict[int, list[tuple[int, str, int]]] = {}
    for certificate, location, uri, since in in_chunks(
        connection,
        "SELECT s.certificate, l.id, l.uri, s.first_seen FROM sightings s JOIN locations l ON l.id = s.location"
        " WHERE s.certificate IN ({}) AND s.ended_at IS NULL AND s.position = 0 AND l.retired_at IS NULL",
        sorted({id for ids in shared.values() for id in ids}),
    ):
        served_at.setdefault(certificate, []).append((location, uri, since))
    certificates = cache.get(connection, served_at)
    found: dict[int, tuple[Neighbour, ...]] = {}
    for place in places:
        name = names.get(place.id)
        others = [
            Neighbour(
                location_id=location,
                location=LocationURI(uri),
                certificate=certificates[id],
                since=from_micros(since),
            )
            for id in shared.get(name or "", ())
            if id in certificates and certificates[id].fingerprint_sha256 != place.chain[0].fingerprint_sha256
            for location, uri, since in served_at[id]
            if location != place.id
        ]
        if others:
            found[place.id] = tuple(others[:MOST])
    return found


def _looked_up(leaf: Certificate) -> str | None:
    """None: it has no name by which others could be found."""
    if leaf.is_ca:
        return None
    names: list[Name] = sorted(each for each in leaf.names if each.startswith(("dns:", "ip:")))
    return reverse(names[0].partition(":")[2]) if names else None
