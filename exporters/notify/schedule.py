"""When a digest is due: at a time of day, every so many days, or several times a day."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_DAY = timedelta(days=1)
#: Days are counted from here: a Monday, so that 7d is Mondays.
_FIRST = date(2024, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    #: Whole days, or a part of a day that goes evenly into it.
    every: timedelta
    #: Of the day, in the digest's own time zone.
    at: time

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if self.every < timedelta(hours=1):
            raise ValueError("at least 1h between two digests")
        if (self.every >= _DAY and self.every % _DAY) or (self.every < _DAY and _DAY % self.every):
            raise ValueError("whole days, or hours that go evenly into a day: 24h, 12h, 7d")

    def last(self, now: datetime, zone: ZoneInfo) -> datetime:
        """The latest instant not after now at which one was due. Aware UTC. In the hour that a clock change leaves
        out or gives twice, one is due once."""
        today = now.astimezone(zone).date()
        step = max(1, self.every // _DAY)
        day = today + _DAY - timedelta(days=((today + _DAY - _FIRST).days) % step)
        while True:
            for instant in reversed(self._of(day, zone)):
                if instant <= now:
                    return instant
            day -= step * _DAY

    def next(self, now: datetime, zone: ZoneInfo) -> datetime:
        """The first instant after now."""
        day = self.last(now, zone).astimezone(zone).date()
        step = max(1, self.every // _DAY)
        while True:
            for instant in self._of(day, zone):
                if instant > now:
                    return instant
            day += step * _DAY

    def _of(self, day: date, zone: ZoneInfo) -> list[datetime]:
        """Its instants on this day, in order."""
        offset = timedelta(hours=self.at.hour, minutes=self.at.minute) % min(self.every, _DAY)
        midnight = datetime.combine(day, time())
        times = max(1, _DAY // self.every)
        return [
            (midnight + offset + number * self.every).replace(tzinfo=zone).astimezone(UTC)
            for number in range(times)
        ]
