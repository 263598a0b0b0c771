"""Clocks that jump.

Backwards by less than `SLACK`: times wait. A look that is older than what is known changes nothing until its clock
has caught up, no instant ever decreases, and nothing waits for longer than `SLACK`.

Backwards by more: a clock was wrong for a while, and it was the one that was ahead (a time server's fault, a
real-time clock kept in local time). Everything stamped meanwhile lies in the future, and by the rule above would
stand unchanged until that future comes. So when a writer is told an instant that far before the latest it was
told, every later instant of the inventory becomes this one, and every location must be judged anew.

A clock from before `EARLIEST` is itself the wrong one (a machine without battery begins in 1970): nothing is
brought back to that. Until it is set, what it says stands for the latest instant that is known.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from certwatch.inventory.instants import from_micros, to_micros
from certwatch.inventory.looks import Look
from certwatch.inventory.session import Session
from certwatch.telemetry.logs import get_logger

log = get_logger(__name__)

#: One hour in microseconds: longer than any call waits between reading the clock and being written.
SLACK = 3600 * 1_000_000

#: A look further ahead of all that a writer was told is not believed: no scan goes so long without a word.
AHEAD = 24 * SLACK

#: No clock that is right shows less: certwatch did not exist.
EARLIEST = to_micros(datetime(2025, 1, 1, tzinfo=UTC))


def told(connection: Session, now: int) -> int:
    """Take note of the clock; heal what a fault left. Gives the instant to go by. Within the caller's transaction."""
    latest = _latest(connection)
    if latest is None or now > latest:
        _advance(connection, now)
    elif now < EARLIEST:
        return latest
    elif now < latest - SLACK:
        healed = _heal(connection, now)
        log.warning(
            "clock_went_back", latest=str(from_micros(latest)), now=str(from_micros(now)), healed=healed
        )
        connection.execute("UPDATE meta SET value = ? WHERE key = 'clock'", (now,))
    return now


def looked(connection: Session, looks: Sequence[Look]) -> None:
    """Looks carry instants too: a crash after recording must not hide that their clock had been ahead. One that
    cannot be right (before `EARLIEST`, or `AHEAD`) becomes the latest instant that is known, in place."""
    latest = _latest(connection)
    if latest is not None:
        for look in looks:
            if look.at < EARLIEST:
                look.at = max(look.at, latest)
            elif look.at > latest + AHEAD and latest >= EARLIEST:
                look.at = latest
    _advance(connection, max(look.at for look in looks))


def _advance(connection: Session, instant: int) -> None:
    connection.execute(
        "INSERT INTO meta VALUES ('clock', ?) ON CONFLICT (key) DO UPDATE SET value = max(meta.value, excluded.value)",
        (instant,),
    )


def _latest(connection: Session) -> int | None:
    row = connection.execute("SELECT value FROM meta WHERE key = 'clock'").fetchone()
    return None if row is None else int(row[0])


_HEAL = (
    (
        "UPDATE scans SET started_at = min(started_at, :now), finished_at = min(finished_at, :now)"
        " WHERE started_at > :now OR finished_at > :now"
    ),
    "UPDATE watches SET stopped_at = :now WHERE stopped_at > :now",
    (
        "UPDATE locations SET first_seen = min(first_seen, :now), failing_since = min(failing_since, :now),"
        " retired_at = min(retired_at, :now) WHERE first_seen > :now OR failing_since > :now OR retired_at > :now"
    ),
    "UPDATE sightings SET last_seen = min(last_seen, :now), ended_at = min(ended_at, :now) WHERE ended_at > :now",
    # Two spans of one certificate at one place, both from the future, become one: the one that still lasts.
    (
        "DELETE FROM sightings WHERE first_seen = :now AND EXISTS (SELECT 1 FROM sightings s"
        " WHERE s.location = sightings.location AND s.position = sightings.position"
        " AND s.certificate = sightings.certificate AND s.first_seen > :now AND s.ended_at IS NULL)"
    ),
    "UPDATE sightings SET first_seen = :now WHERE first_seen > :now AND ended_at IS NULL",
    (
        "DELETE FROM sightings WHERE first_seen > :now AND EXISTS (SELECT 1 FROM sightings s"
        " WHERE s.location = sightings.location AND s.position = sightings.position"
        " AND s.certificate = sightings.certificate AND s.first_seen >= :now AND s.first_seen < sightings.first_seen)"
    ),
    "UPDATE sightings SET first_seen = :now WHERE first_seen > :now",
    (
        "UPDATE findings SET opened_at = min(opened_at, :now), resolved_at = min(resolved_at, :now)"
        " WHERE opened_at > :now OR resolved_at > :now"
    ),
    "UPDATE judgements SET revision = revision + 1, due_at = min(coalesce(due_at, :now), :now)",
)


def _heal(connection: Session, now: int) -> int:
    """How many last looks were put back."""
    for statement in _HEAL:
        connection.execute(statement, {"now": now})
    return connection.execute(
        "UPDATE looks SET seen = min(seen, :now), served = min(served, :now) WHERE seen > :now OR served > :now",
        {"now": now},
    ).rowcount
