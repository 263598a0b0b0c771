"""Blocks of entries: fetched ahead, sifted, given in order."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from collectors.ct.sieve import Sieve, Sifted, sift
from collectors.ct.source import Block, LogSource, TooLargeError

#: Bytes of a block; a page of a thousand entries has six million, a tile less than one.
ORDINARY = 12 << 20


@dataclass(frozen=True, slots=True)
class Room:
    """Bounds what is held in memory, of all logs together."""

    places: asyncio.Semaphore
    #: For those that are larger than any of an honest log.
    giants: asyncio.Semaphore
    #: Blocks of one log that are fetched ahead.
    ahead: int


class Blocks:
    """From `start` up to `end`, of the tree of `size`. `async with` it: what is fetched ahead ends with it. A block in which
    nothing was found comes without its entries."""

    def __init__(self, source: LogSource, sieve: Sieve, start: int, end: int, size: int, room: Room) -> None:
        self._source = source
        self._sieve = sieve
        self._next = start
        self._end = end
        self._size = size
        self._room = room
        self._coming: deque[tuple[int, int, asyncio.Task[tuple[Block, Sifted]]]] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        tasks = [task for _, _, task in self._coming]
        self._coming.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)

    async def __aiter__(self) -> AsyncIterator[tuple[Block, Sifted]]:
        while self._next < self._end or self._coming:
            while self._next < self._end and len(self._coming) < self._room.ahead:
                until = self._source.end_of_block(self._next, self._end)
                self._coming.append((self._next, until, asyncio.create_task(self._fetch(self._next, until))))
                self._next = until
            start, until, task = self._coming[0]
            try:
                block, sifted = await task
            except BaseException:
                self._coming.popleft()
                raise
            self._coming.popleft()
            got = start + len(sifted.hashes)
            if got < until:
                # Less than asked for: the rest comes next, and those behind it stay.
                self._coming.appendleft((got, until, asyncio.create_task(self._fetch(got, until))))
            yield block, sifted

    async def _fetch(self, start: int, until: int) -> tuple[Block, Sifted]:
        try:
            async with self._room.places:
                block = await self._source.block(start, until, self._size, ORDINARY)
                sifted = await asyncio.to_thread(sift, block.leaves, self._sieve)
        except TooLargeError:
            async with self._room.giants:
                block = await self._source.block(start, until, self._size)
                sifted = await asyncio.to_thread(sift, block.leaves, self._sieve)
        # What waits its turn is hashes; of fifty logs read ahead, the entries would fill the memory.
        return block if sifted.hits else Block(first=block.first, leaves=(), rest=()), sifted
