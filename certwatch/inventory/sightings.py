"""The spans in which locations served certificates, in the tables."""

from collections.abc import Sequence

from certwatch.inventory.session import Session
from certwatch.inventory.spans import Span, with_late_look


def switch(
    connection: Session, location: int, chain: Sequence[int], *, at: int, last_served: int | None
) -> None:
    """The location shows `chain` (certificates' ids) at `at`, its latest look: what it showed before has ended."""
    rows = connection.execute(
        "SELECT position, certificate, first_seen FROM sightings WHERE location = ? AND ended_at IS NULL",
        (location,),
    ).fetchall()
    if not rows:
        rows = _retired_too_early(connection, location, at)
    stays = set()
    for position, certificate, first_seen in rows:
        if position < len(chain) and chain[position] == certificate:
            stays.add(position)
            continue
        _end(connection, location, position, first_seen, certificate, last_served, at)
    connection.insert(
        "sightings",
        [
            (location, position, at, certificate, None, None)
            for position, certificate in enumerate(chain)
            if position not in stays
        ],
        "ON CONFLICT (location, position, first_seen, certificate) DO UPDATE SET last_seen = NULL, ended_at = NULL",
    )


def _retired_too_early(connection: Session, location: int, at: int) -> list[tuple[int, int, int]]:
    """Another collector's scan retired the location after this look, before it was recorded: it never was gone."""
    rows = connection.execute(
        "UPDATE sightings SET last_seen = NULL, ended_at = NULL WHERE location = ? AND ended_at > ?"
        " RETURNING position, certificate, first_seen",
        (location, at),
    ).fetchall()
    return [(int(position), int(certificate), int(first_seen)) for position, certificate, first_seen in rows]


def _end(
    connection: Session,
    location: int,
    position: int,
    first_seen: int,
    certificate: int,
    last_seen: int | None,
    ended_at: int,
) -> None:
    connection.execute(
        "UPDATE sightings SET last_seen = ?, ended_at = ?"
        " WHERE location = ? AND position = ? AND first_seen = ? AND certificate = ?",
        (last_seen, ended_at, location, position, first_seen, certificate),
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
