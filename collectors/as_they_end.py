"""What is asked at once, taken as the answers come."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def as_they_end(asked: Iterable[Coroutine[Any, Any, T]]) -> AsyncIterator[Iterator[Awaitable[T]]]:
    """The answers, each to be awaited in its turn. Left early, by an error too, it cancels what is under way, and ends when
    that has ended."""
    tasks = [asyncio.create_task(each) for each in asked]
    try:
        yield iter(asyncio.as_completed(tasks))
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
