"""One connection to the shards, and the thread that waits for it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from certwatch.inventory.postgresql.zones import Zones

T = TypeVar("T")


class ZonesThread:
    """Calls come one at a time, in order of arrival; the event loop waits for none."""

    def __init__(self, url: str) -> None:
        self._zones = Zones(url)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="certwatch-zones")

    async def call(self, step: Callable[[Zones], T]) -> T:
        """Raises what the step raises. Cancelled: it is run to its end all the same."""
        running = asyncio.get_running_loop().run_in_executor(self._executor, step, self._zones)
        # Where the caller was cancelled, nobody else reads the exception.
        running.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(running)

    async def close(self) -> None:
        await self.call(lambda zones: zones.close())
        self._executor.shutdown(wait=False)
