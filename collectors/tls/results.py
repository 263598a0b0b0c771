"""A bounded way from many producers to one consumer, by batches: an item costs no switch of tasks."""

import asyncio
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Results(Generic[Item]):
    """Owned by one event loop. Producers `put` at any time and look at `is_full` before they begin more work,
    so at most `bound` items and those already being made are held."""

    __slots__ = ("_bound", "_closed", "_failure", "_items", "_room", "_wake")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._items: list[Item] = []
        self._closed = False
        self._failure: BaseException | None = None
        self._wake = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def is_full(self) -> bool:
        return len(self._items) >= self._bound

    def put(self, item: Item) -> None:
        self._items.append(item)
        self._wake.set()

    async def room(self) -> None:
        """Wait until it is not full."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    def close(self, failure: BaseException | None = None) -> None:
        """No more comes. The consumer gets what is there, then `failure` if there is one."""
        self._closed = True
        self._failure = failure
        self._wake.set()

    async def take(self) -> list[Item]:
        """Everything that is there; waits if nothing is. Empty: closed. Raises the failure it was closed with,
        after everything else."""
        while not self._items:
            if self._closed:
                if self._failure is not None:
                    raise self._failure
                return []
            self._wake.clear()
            await self._wake.wait()
        batch, self._items = self._items, []
        self._room.set()
        return batch
