"""Time is a parameter: whatever depends on now takes a clock."""

from collections.abc import Callable
from datetime import UTC, datetime

#: Returns the present instant, aware UTC. Only `daemon/` and `cli/` make the real one.
Clock = Callable[[], datetime]


def system_clock() -> datetime:
    return datetime.now(UTC)
