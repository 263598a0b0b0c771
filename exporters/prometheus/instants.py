"""A multiset of instants, whole seconds since 1970: what is added and taken away again, and which is the earliest."""

from array import array
from bisect import bisect_left

HOUR = 3600


class Instants:
    """Ten bytes for each different second, and a small object for each hour that has one: a fleet of a million leaves
    ends within a year. In an hour there are few enough to stay sorted, whatever they are."""

    __slots__ = ("_hours",)

    def __init__(self) -> None:
        #: By hour: the seconds of it that are there, sorted, and how often each.
        self._hours: dict[int, tuple[array[int], array[int]]] = {}

    def add(self, instant: int) -> None:
        hour, second = divmod(instant, HOUR)
        if hour not in self._hours:
            self._hours[hour] = array("H"), array("Q")
        seconds, counts = self._hours[hour]
        place = bisect_left(seconds, second)
        if place < len(seconds) and seconds[place] == second:
            counts[place] += 1
        else:
            seconds.insert(place, second)
            counts.insert(place, 1)

    def remove(self, instant: int) -> None:
        """One that was added."""
        hour, second = divmod(instant, HOUR)
        seconds, counts = self._hours[hour]
        place = bisect_left(seconds, second)
        counts[place] -= 1
        if not counts[place]:
            del seconds[place], counts[place]
            if not seconds:
                del self._hours[hour]

    def earliest(self) -> int | None:
        if not self._hours:
            return None
        hour = min(self._hours)
        return hour * HOUR + self._hours[hour][0][0]
