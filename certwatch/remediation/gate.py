"""Who writes what a server reads, and who has it read: never at the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Many write together, one has it taken up alone: a server that reads certificate and key while one of them is new
    refuses both, and everybody else's with them. Belongs to the event loop."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._writing = 0
        self._waiting = 0
        self._taking_up = False

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Who comes while somebody waits to take up, comes after it: else it would never be its turn."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._taking_up and not self._waiting)
            self._writing += 1
        try:
            yield
        finally:
            async with self._changed:
                self._writing -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def taking_up(self) -> AsyncIterator[None]:
        async with self._changed:
            self._waiting += 1
            try:
                await self._changed.wait_for(lambda: not self._taking_up and not self._writing)
            finally:
                self._waiting -= 1
                self._changed.notify_all()
            self._taking_up = True
        try:
            yield
        finally:
            async with self._changed:
                self._taking_up = False
                self._changed.notify_all()
