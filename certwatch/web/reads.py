"""Reading the inventory for who asks over HTTP: in threads, few at once, each for a bounded time."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from certwatch.inventory.store import Reader
from certwatch.web.site import Site
from certwatch.web.status import Status, read_status

#: For one answer; then it says that less must be asked for.
READ_SECONDS = 10.0
#: At once. The rest of the threads is for the collectors; others wait, as long as their request may take.
READS = 4
#: How long what was read for the overview is shown again.
STATUS_SECONDS = 5.0

T = TypeVar("T")


class Reads:
    """Owned by the event loop's thread."""

    def __init__(self, site: Site, *, seconds: float = READ_SECONDS) -> None:
        self._site = site
        self._seconds = seconds
        self._places = asyncio.Semaphore(READS)
        # One reads the status, whoever comes meanwhile waits and takes what that one has read.
        self._reading = asyncio.Lock()
        self._status: Status | None = None
        self._read = -STATUS_SECONDS

    async def ask(self, ask: Callable[[Reader], T]) -> T:
        """`ask` runs in a thread; making the answer's text belongs in it. Raises InventoryError."""

        def blocking() -> T:
            with self._site.reading(self._seconds) as reader:
                return ask(reader)

        async with self._places:
            return await asyncio.to_thread(blocking)

    async def status(self) -> Status:
        async with self._reading:
            if self._status is None or time.monotonic() - self._read > STATUS_SECONDS:
                self._status = await self.ask(lambda reader: read_status(reader, self._site.clock()))
                self._read = time.monotonic()
            return self._status
