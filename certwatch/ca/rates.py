"""How often something may happen: so many a second on the average, so many at once."""

import threading
import time
from collections.abc import Callable


class Bucket:
    """May be asked from any thread."""

    def __init__(self, a_second: float, at_once: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._a_second, self._at_once, self._clock = a_second, at_once, clock
        self._left, self._then = at_once, clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """False: too often."""
        with self._lock:
            now = self._clock()
            self._left = min(self._at_once, self._left + (now - self._then) * self._a_second)
            self._then = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


class Buckets:
    """One for each of those who ask; bounded, the longest unseen is forgotten."""

    def __init__(
        self,
        a_second: float,
        at_once: float,
        *,
        most: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._a_second, self._at_once, self._clock = a_second, at_once, clock
        self._most = most
        self._buckets: dict[str, Bucket] = {}
        self._lock = threading.Lock()

    def take(self, who: str) -> bool:
        with self._lock:
            bucket = self._buckets.pop(who, None) or Bucket(self._a_second, self._at_once, self._clock)
            # Put in last: the first is the longest unseen.
            self._buckets[who] = bucket
            while len(self._buckets) > self._most:
                del self._buckets[next(iter(self._buckets))]
        return bucket.take()
