"""Instants: as people type them, as people and programs read them."""

from datetime import UTC, datetime, timedelta


def iso(instant: datetime | None) -> str | None:
    """RFC 3339 with Z."""
    return None if instant is None else instant.isoformat().replace("+00:00", "Z")


def read_instant(text: object) -> datetime | None:
    """What `iso` has written, out of a fact or another program's answer. None: it is no instant, or has no zone."""
    try:
        instant = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else None


def minute(instant: datetime | None) -> str:
    """For tables."""
    return "—" if instant is None else instant.strftime("%Y-%m-%d %H:%MZ")


def left(instant: datetime | None, now: datetime) -> str:
    """How long until then, or since then: "in 12d", "3h ago"."""
    if instant is None:
        return "unreadable"
    distance = instant - now
    text = _rough(abs(distance))
    return f"in {text}" if distance >= timedelta(0) else f"{text} ago"


def rough(span: timedelta) -> str:
    """A span as people say it: "12d", "3h"; "-2d" if it is over."""
    return ("-" if span < timedelta(0) else "") + _rough(abs(span))


def _rough(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    if seconds >= 3 * 365 * 86400:
        return f"{seconds // (365 * 86400)}y"
    if seconds >= 2 * 86400:
        return f"{seconds // 86400}d"
    if seconds >= 2 * 3600:
        return f"{seconds // 3600}h"
    return f"{seconds // 60}m" if seconds >= 60 else f"{seconds}s"


def parse_instant(text: str) -> datetime:
    """As people type them; without a zone, UTC. Raises ValueError saying what is expected."""
    try:
        instant = datetime.fromisoformat(text.strip())
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{text[:100]!r} is not a time. Write 2026-11-01, 2026-11-01T12:00Z or 2026-11-01T12:00:00+01:00"
        ) from error
