"""When the leaves before this one were replaced at a place: who renews by itself does so in a rhythm."""

from collections.abc import Mapping, Sequence

from certwatch.inventory.instants import from_micros
from certwatch.inventory.served import in_chunks
from certwatch.inventory.session import Session
from certwatch.model.renewal import Renewal
from certwatch.model.sighting import Served

#: The latest of one place.
MOST = 8
#: `certificates.not_after` of what could not be read.
_UNREADABLE = (1 << 63) - 1


def load_renewals(connection: Session, places: Sequence[Served]) -> Mapping[int, tuple[Renewal, ...]]:
    """By location's id, oldest first; those without any are absent. A place that was retired and came back counts as
    renewed by whatever it then showed. The caller holds a snapshot."""
    found: dict[int, list[Renewal]] = {}
    for location, ended_at, not_before, not_after in in_chunks(
        connection,
        "SELECT s.location, s.ended_at, c.not_before, c.not_after FROM sightings s"
        " JOIN certificates c ON c.id = s.certificate"
        " WHERE s.location IN ({}) AND s.position = 0 AND s.ended_at IS NOT NULL ORDER BY s.location, s.ended_at",
        [each.id for each in places if each.chain and not each.chain[0].is_ca],
    ):
        if not_before >= not_after or not_after == _UNREADABLE:
            continue
        found.setdefault(location, []).append(
            Renewal(
                replaced_at=from_micros(ended_at),
                not_before=from_micros(not_before),
                not_after=from_micros(not_after),
            )
        )
    return {location: tuple(each[-MOST:]) for location, each in found.items()}
