"""What is learnt of a log by asking: above all how fast it may be asked, and that is never faster than configured."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

#: Between two requests after the first refusal; doubled by each one, to at most the other.
FIRST_INTERVAL, LONGEST_INTERVAL = 0.25, 60.0
#: A Retry-After beyond this is not waited for: the next scan comes by.
LONGEST_PAUSE = 600.0
#: Of the interval, after each answer.
RECOVERY = 0.95
_NONE = 0.005


@dataclass(slots=True)
class Pace:
    """Of one log. Lives as long as the collector, so that what was learnt is kept. Owned by the event loop."""

    most: int
    #: Bytes and requests a second. None: no limit.
    bandwidth: int | None = None
    requests: float | None = None
    #: Fetches at a time: one more after each round without refusal, half after one.
    window: float = 1.0
    #: Seconds between two requests, learnt from refusals.
    interval: float = 0.0
    refused: int = 0
    #: Entries that one request of RFC 6962 brings at most.
    page: int = 1024
    #: Whether a log of RFC 6962 has data tiles as static logs have. None: it was not asked.
    has_tiles: bool | None = None
    #: When the next request may begin, by the loop's clock.
    _next: float = 0.0
    _running: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One request: waits until it may begin."""
        while self._running >= max(1, int(self.window)):
            self._changed.clear()
            await self._changed.wait()
        self._running += 1
        try:
            await self._wait()
            yield
        finally:
            self._running -= 1
            self._changed.set()

    async def _wait(self) -> None:
        now = asyncio.get_running_loop().time()
        begins = max(now, self._next)
        self._next = begins + max(self.interval, 1 / self.requests if self.requests else 0.0)
        if begins > now:
            await asyncio.sleep(begins - now)

    def answered(self, count: int) -> None:
        """With so many bytes."""
        self.window = min(self.most, self.window + 1 / self.window)
        self.interval = self.interval * RECOVERY if self.interval > _NONE else 0.0
        if self.bandwidth:
            self._next = max(self._next, asyncio.get_running_loop().time()) + count / self.bandwidth

    def refuse(self, retry_after: float | None) -> float:
        """The log will not answer now. How long to wait before the next try."""
        self.refused += 1
        self.window = max(1.0, self.window / 2)
        self.interval = min(LONGEST_INTERVAL, max(FIRST_INTERVAL, self.interval * 2))
        pause = min(retry_after, LONGEST_PAUSE) if retry_after is not None else self.interval
        self._next = max(self._next, asyncio.get_running_loop().time() + pause)
        return pause
