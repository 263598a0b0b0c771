"""From single observations to batches worth a transaction: by count and by time."""

import asyncio

from certwatch.model.observation import Observation

#: A batch that is written at once.
BATCH_SIZE = 1000
#: How long the first of a batch waits for company.
BATCH_SECONDS = 0.5
#: Observations that wait to be written; then the collector waits.
WAITING = 4 * BATCH_SIZE


class Batches:
    """A bounded buffer between one who adds and one who takes, both on the event loop.

    Nothing that was added is lost by cancelling the adder: `add` takes it before it waits.
    """

    def __init__(self) -> None:
        self._waiting: list[Observation] = []
        self._ended = False
        self._refused = False
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def add(self, observation: Observation) -> None:
        """Returns when there is room for another one."""
        self._waiting.append(observation)
        self._arrived.set()
        if len(self._waiting) >= BATCH_SIZE:
            self._full.set()
        if len(self._waiting) >= WAITING and not self._refused:
            self._room.clear()
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
        """The next batch, at most `BATCH_SIZE`. Empty: it has ended."""
        await self._arrived.wait()
        try:
            async with asyncio.timeout(BATCH_SECONDS):
                await self._full.wait()
        except TimeoutError:
            pass
        batch = self._waiting[:BATCH_SIZE]
        del self._waiting[:BATCH_SIZE]
        self._room.set()
        if not self._ended:
            if not self._waiting:
                self._arrived.clear()
            if len(self._waiting) < BATCH_SIZE:
                self._full.clear()
        return batch
