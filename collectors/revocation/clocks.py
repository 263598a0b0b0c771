"""Whose clock is wrong: what a web server says of the time, held against ours."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from certwatch.model.observation import Fact

#: A fact for every second would be another fact at every look.
_MINUTE = 60
#: Nobody's clock is off by more; a header that says so is nonsense.
_MOST_MINUTES = 60 * 24 * 366 * 50


def clock_facts(headers: Mapping[str, str], received_at: datetime) -> dict[str, Fact]:
    """`clock_offset_minutes`: how far the server's clock is ahead of ours (negative: behind), by the Date header of an
    answer (RFC 9110, 6.6.1). Absent: less than a minute, or not said. An answer out of a cache says when it was made, and
    how long ago that is (Age); one that does not say the latter is not believed to be old here either."""
    try:
        said = parsedate_to_datetime(headers["date"])
        # Absent where a server answers by itself; caches must send it (RFC 9111, 5.1).
        age = int(headers.get("age", "0"))
    except (KeyError, TypeError, ValueError, OverflowError):
        return {}
    if said.tzinfo is None:
        said = said.replace(tzinfo=UTC)
    offset = (said - received_at).total_seconds() + age
    minutes = int(offset / _MINUTE)
    return {"clock_offset_minutes": minutes} if 0 < abs(minutes) <= _MOST_MINUTES else {}
