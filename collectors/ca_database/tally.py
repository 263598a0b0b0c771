"""What is counted while a database is read: how much was issued when, by whom, how long it lives."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta

from certwatch.model.observation import Fact

#: Days whose issuance is kept.
DAYS = 15
#: What the CA issued within this counts for the longest life that it gives.
RECENT = timedelta(days=90)
#: A serial number of at least 64 random bits has fewer than these once in 256 times (Baseline Requirements, 7.1).
LEAST_BITS = 56
#: Issuers of one database that are named.
MAX_ISSUERS = 64


class Tally:
    """Owned by one reading."""

    def __init__(
        self,
        now: datetime,
        before: str = "",
        longest: object = 0,
        issuers: object = "",
        short_serials: object = 0,
    ) -> None:
        """`before`, `longest`, `issuers`, `short_serials`: what a former reading said, to go on from."""
        self._now = now
        self._since = now - RECENT
        self._first = (now - timedelta(days=DAYS - 1)).date()
        self._first_day = datetime.combine(self._first, time(), UTC)
        self._days: dict[str, int] = dict(_parsed(before))
        self._longest = timedelta(days=longest) if isinstance(longest, int) else timedelta(0)
        self._issuers = set(str(issuers or "").split())
        self._short_serials = short_serials if isinstance(short_serials, int) else 0

    def add(self, issuer: str, serial: int, not_before: datetime, not_after: datetime) -> None:
        """Both in UTC."""
        if len(self._issuers) < MAX_ISSUERS:
            self._issuers.add(issuer)
        if not_before <= self._since:
            return
        self._short_serials += abs(serial).bit_length() < LEAST_BITS
        self._longest = max(self._longest, not_after - not_before)
        if self._first_day <= not_before <= self._now:
            day = not_before.isoformat()[:10]
            self._days[day] = self._days.get(day, 0) + 1

    def facts(self) -> dict[str, Fact]:
        kept = sorted((day, count) for day, count in self._days.items() if day >= self._first.isoformat())
        said: dict[str, Fact] = {
            "ca_issued_by_day": " ".join(f"{day}:{count}" for day, count in kept[-DAYS:]),
            "ca_issuers": " ".join(sorted(self._issuers)),
            # Rounded up: validity is counted with both its ends.
            "ca_longest_lifetime_days": -(-self._longest // timedelta(days=1)),
            "ca_short_serials": self._short_serials,
        }
        return {name: value for name, value in said.items() if value}


def _parsed(text: str) -> Iterator[tuple[str, int]]:
    for part in text.split():
        day, _, count = part.partition(":")
        if count.isascii() and count.isdigit():
            yield day, int(count)
