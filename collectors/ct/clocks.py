"""What time it is by the logs' servers, held against our own clock: when that is wrong, no log is late."""

import time
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from statistics import median

from collectors.ct.heads import GRACE


class Clocks:
    """Of one collector; lives as long. Owned by the event loop."""

    def __init__(self) -> None:
        # By log: what its server said, and when that was by the clock that nobody sets.
        self._said: dict[str, tuple[datetime, float]] = {}

    def heard(self, log: str, date: str) -> None:
        """`date`: the header of an answer (RFC 9110, 6.6.1)."""
        try:
            said = parsedate_to_datetime(date)
            if said.tzinfo is None:
                raise ValueError("no time zone")
            self._said[log] = said, time.monotonic()
        except (ValueError, TypeError, OverflowError):
            self._said.pop(log, None)

    def is_wrong(self, now: datetime) -> bool:
        """Ours, that says `now`: most of them say so. One log alone cannot, unless it is the only one."""
        since = time.monotonic()
        ahead = [
            (said + timedelta(seconds=since - heard) - now).total_seconds()
            for said, heard in self._said.values()
        ]
        return bool(ahead) and abs(median(ahead)) > GRACE.total_seconds()
