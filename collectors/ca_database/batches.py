"""A blocking generator, taken from in threads by an event loop that may give it up at any time."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator
from typing import Generic, TypeVar

from certwatch.plugins.collector import CollectError
from collectors.ca_database.record import ReadFailed

T = TypeVar("T")

#: What the event loop hears of at once, by number and by seconds.
BATCH = 500
BATCH_SECONDS = 0.2


class Batches(Generic[T]):
    """Each call in one thread at a time. `close` never waits: a batch that is being made closes the generator at its
    end."""

    def __init__(self, source: Generator[T, None, None]) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._closed = False
        self._failed: Exception | None = None

    def take(self) -> tuple[list[T], bool]:
        """Some, and whether they were the last. Raises the source's ReadFailed, after what came before
        it was taken."""
        with self._lock:
            if self._failed is not None:
                raise self._failed
            batch: list[T] = []
            until = time.monotonic() + BATCH_SECONDS
            ended = True
            try:
                for each in self._source:
                    batch.append(each)
                    if len(batch) >= BATCH or time.monotonic() > until or self._closed:
                        ended = False
                        break
            except ReadFailed as failed:
                self._failed, ended = failed, False
            if self._closed:
                self._source.close()
                return [], True
            return batch, ended

    def close(self) -> None:
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._source.close()
            finally:
                self._lock.release()


async def in_batches(
    name: str, source: Generator[T, None, None], progress: Callable[[int, None], None]
) -> AsyncIterator[T]:
    """All that the source of collector `name` gives, for its `collect`. Its ReadFailed becomes CollectError."""
    batches = Batches(source)
    done = 0
    try:
        while True:
            batch, last = await asyncio.to_thread(batches.take)
            for each in batch:
                yield each
            done += len(batch)
            progress(done, None)
            if last:
                return
    except ReadFailed as failed:
        raise CollectError(failed.kind, f"{name}: {failed.message}") from failed
    finally:
        batches.close()
