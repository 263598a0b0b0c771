"""Dates as a Windows server writes them: "11/24/2026 3:04 PM", "24.11.2026 15:04". What order they are in is learnt from
dates that are known: the ends of certificates, which stand beside them."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta

#: Places of year, month and day among the first three numbers.
_ORDERS = {"mdy": (2, 0, 1), "dmy": (2, 1, 0), "ymd": (0, 1, 2)}
_NUMBERS = re.compile(r"\d+")
_AFTERNOON = re.compile(r"\bp\.?\s?m\.?\b", re.IGNORECASE)
_MORNING = re.compile(r"\ba\.?\s?m\.?\b", re.IGNORECASE)
#: Zones differ by quarters of an hour.
_STEP = timedelta(minutes=15)
#: No zone is further from UTC.
_FARTHEST = timedelta(hours=14)
#: Examples that are looked at.
MOST = 1000


class Dates:
    """Owned by one reading."""

    def __init__(self) -> None:
        self._fits: Counter[tuple[str, timedelta]] = Counter()
        self._seen = 0

    def learn(self, text: str, known: datetime) -> None:
        """`text` is how the server writes `known`."""
        if self._seen >= MOST or not text:
            return
        self._seen += 1
        for order in _ORDERS:
            found = _read(text, order)
            if found is None:
                continue
            # The server leaves out the seconds.
            offset = round((found - known.replace(second=0, microsecond=0)) / _STEP) * _STEP
            if abs(offset) <= _FARTHEST and abs(found - offset - known) < timedelta(minutes=1):
                self._fits[order, offset] += 1

    def read(self, text: str) -> datetime | None:
        """Aware UTC. None: it is none, or nothing was learnt."""
        if not text or not self._fits:
            return None
        (order, offset), _ = min(self._fits.items(), key=lambda each: (-each[1], abs(each[0][1]), each[0][0]))
        found = _read(text, order)
        return found - offset if found is not None else None


def _read(text: str, order: str) -> datetime | None:
    """As if it were UTC."""
    numbers = [int(each) for each in _NUMBERS.findall(text[:64]) if len(each) < 6]
    if len(numbers) < 5:
        return None
    year, month, day = (numbers[place] for place in _ORDERS[order])
    hour, minute, *rest = numbers[3:]
    if _AFTERNOON.search(text) and hour < 12:
        hour += 12
    elif _MORNING.search(text) and hour == 12:
        hour = 0
    try:
        return datetime(year, month, day, hour, minute, rest[0] if rest else 0, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
