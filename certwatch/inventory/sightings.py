"""The spans in which locations served certificates, in the tables."""

from collections.abc import Sequence
from typing import NamedTuple

from certwatch.inventory.served import in_chunks
from certwatch.inventory.session import Session
from certwatch.inventory.spans import Span, with_late_look


class Switch(NamedTuple):
    """The location shows `chain` (certificates' ids) at `at`, its latest look: what it showed before has ended."""

    location: int
    chain: Sequence[int]
    at: int
    last_served: int | None


#: Position, certificate, first seen: with the location, what tells a sighting.
_Lasting = tuple[int, int, int]

_KEY = ("location", "position", "certificate", "first_seen")


def switch(connection: Session, switches: Sequence[Switch]) -> None:
    """No location twice."""
    lasting: dict[int, list[_Lasting]] = {}
    for location, *row in in_chunks(
        connection,
        "SELECT location, position, certificate, first_seen FROM sightings"
        " WHERE ended_at IS NULL AND location IN ({})",
        [each.location for each in switches],
    ):
        lasting.setdefault(location, []).append((row[0], row[1], row[2]))
    lasting |= _retired_too_early(connection, [each for each in switches if each.location not in lasting])
    ended: list[tuple[int | None, ...]] = []
    begun: list[tuple[int | None, ...]] = []
    for location, chain, at, last_served in switches:
        stays = set()
        for position, certificate, first_seen in lasting.get(location, []):
            if position < len(chain) and chain[position] == certificate:
                stays.add(position)
            else:
                ended.append((last_served, at, location, position, certificate, first_seen))
        begun += [
            (location, position, at, certificate, None, None)
            for position, certificate in enumerate(chain)
            if position not in stays
        ]
    connection.update("sightings", ("last_seen", "ended_at"), _KEY, ended)
    connection.insert(
        "sightings",
        begun,
        "ON CONFLICT (location, position, first_seen, certificate) DO UPDATE SET last_seen = NULL, ended_at = NULL",
    )


def _retired_too_early(connection: Session, switches: Sequence[Switch]) -> dict[int, list[_Lasting]]:
    """Another collector's scan retired the location after this look, before it was recorded: it never was gone."""
    at = {each.location: each.at for each in switches}
    found: dict[int, list[_Lasting]] = {}
    for location, position, certificate, first_seen, ended_at in in_chunks(
        connection,
        "SELECT location, position, certificate, first_seen, ended_at FROM sightings WHERE location IN ({})",
        list(at),
    ):
        if ended_at > at[location]:
            found.setdefault(location, []).append((position, certificate, first_seen))
    connection.update(
        "sightings",
        ("last_seen", "ended_at"),
        _KEY,
        [(None, None, location, *row) for location, rows in found.items() for row in rows],
    )
    return found


def never_gone(connection: Session, location: int, retired_at: int, last_served: int) -> None:
    """A look from before the last one is the first word of a collector that watches a location, which is retired: what it
    showed last it shows yet."""
    connection.execute(
        "UPDATE sightings SET last_seen = NULL, ended_at = NULL WHERE location = ? AND ended_at = ? AND last_seen = ?",
        (location, retired_at, last_served),
    )


def insert_late(
    connection: Session, location: int, chain: Sequence[int], *, at: int, last_served: int
) -> None:
    """The location showed `chain` at `at`, and later looks are known."""
    rows = connection.execute(
        "SELECT position, certificate, first_seen, last_seen, ended_at FROM sightings WHERE location = ?",
        (location,),
    )
    before = {
        Span(
            position=position,
            certificate=certificate,
            first_seen=first_seen,
            last_seen=last_served if last_seen is None else last_seen,
            ended_at=ended_at,
        )
        for position, certificate, first_seen, last_seen, ended_at in rows
    }
    after = set(with_late_look(sorted(before, key=lambda span: span.first_seen), chain, at, last_served))
    connection.executemany(
        "DELETE FROM sightings WHERE location = ? AND position = ? AND first_seen = ? AND certificate = ?",
        [(location, span.position, span.first_seen, span.certificate) for span in before - after],
    )
    connection.insert(
        "sightings",
        [
            (
                location,
                span.position,
                span.first_seen,
                span.certificate,
                None if span.ended_at is None else span.last_seen,
                span.ended_at,
            )
            for span in after - before
        ],
    )
