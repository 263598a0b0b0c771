"""Collectors that should look again: told together, so that a thousand roll-outs are not a thousand scans."""

import asyncio
from collections.abc import Callable, Iterable

#: From the first that is told, so that others join; and between two tellings.
FIRST_SECONDS, BETWEEN_SECONDS = 0.5, 10.0


class Again:
    """Told from any thread; tells in the event loop that it is made in."""

    def __init__(self, tell: Callable[[Iterable[str]], None]) -> None:
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        #: Owned by the event loop, as the two below.
        self._names: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._told_at = float("-inf")

    def __call__(self, names: Iterable[str]) -> None:
        self._loop.call_soon_threadsafe(self._add, tuple(names))

    def _add(self, names: Iterable[str]) -> None:
        self._names |= set(names)
        if self._timer is None:
            at = max(self._loop.time() + FIRST_SECONDS, self._told_at + BETWEEN_SECONDS)
            self._timer = self._loop.call_at(at, self._told)

    def _told(self) -> None:
        names, self._names, self._timer = self._names, set(), None
        self._told_at = self._loop.time()
        self._tell(sorted(names))

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
