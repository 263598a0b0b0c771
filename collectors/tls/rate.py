"""A limit on new connections a second."""

import asyncio


class Rate:
    """A token bucket by the loop's clock: `per_second` on average, never more than a tenth of a second's worth
    (at least one) at once, in the order in which it is asked."""

    __slots__ = ("_burst", "_interval", "_next")

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._burst = max(0.1, self._interval)
        #: When the next token is due if the bucket were empty, by the loop's clock.
        self._next = 0.0

    def delay(self, now: float) -> float:
        """Take one token; seconds until it may be used. 0: at once."""
        earliest = now - self._burst + self._interval
        self._next = max(self._next, earliest)
        due, self._next = self._next, self._next + self._interval
        return max(0.0, due - now)

    async def take(self) -> None:
        wait = self.delay(asyncio.get_running_loop().time())
        if wait > 0:
            await asyncio.sleep(wait)
