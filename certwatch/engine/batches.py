"""From single observations to batches worth a transaction: by count and by time."""

import asyncio

from certwatch.model.observation import Observation

#: With so many a batch is written at once.
BATCH_SIZE = 1000
#: How long the first of a batch waits for company.
BATCH_SECONDS = 0.5
#: Observations that wait to be written; then the collector waits. All of them go into the next batch: in an inventory of a
#: million certificates a thousand new ones touch nearly as many pages of the indices as five thousand do.
WAITING = 5 * BATCH_SIZE


class Batches:
    """A bounded buffer between one who adds and one who takes, both on the event loop.

    Nothing that was added is lost by cancelling the adder: `add` takes it, and `has_room` waits.
    """

    def __init__(self) -> None:
        self._waiting: list[Observation] = []
        self._ended = False
        self._refused = False
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def add(self, observation: Observation) -> bool:
        """Whether there is room for another one; if not, `has_room` is waited for."""
        self._waiting.append(observation)
        count = len(self._waiting)
        if count == 1:
            self._arrived.set()
        if count >= BATCH_SIZE:
            self._full.set()
        if count >= WAITING and not self._refused:
            self._room.clear()
            return False
        return True

    async def has_room(self) -> None:
        await self._room.wait()

    def end(self) -> None:
        """Nothing more will be added."""
        self._ended = True
        self._arrived.set()
        self._full.set()

    def refuse(self) -> None:
        """Nothing more will be taken: who waits for room goes on."""
        self._refused = True
        self._room.set()

    async def take(self) -> list[Observation]:
        """The next batch, at most `WAITING`. Empty: it has ended."""
        await self._arrived.wait()
        try:
            async with asyncio.timeout(BATCH_SECONDS):
                await self._full.wait()
        except TimeoutError:
            pass
        batch = self._waiting[:WAITING]
        del self._waiting[:WAITING]
        self._room.set()
        if not self._ended:
            if not self._waiting:
                self._arrived.clear()
            if len(self._waiting) < BATCH_SIZE:
                self._full.clear()
        return batch
