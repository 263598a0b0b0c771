"""Blocking work in threads of its own, and what it brings in a bounded queue to the event loop."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from certwatch.doors.aws import Stopped

T = TypeVar("T")
S = TypeVar("S")

#: Parts that wait to be taken.
_PARTS = 8
_GLANCE = 0.2


class Outbox(Generic[S]):
    """Made in the event loop; `put` is for threads."""

    def __init__(self, stopped: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Sequence[S] | None] = asyncio.Queue(_PARTS)
        self._stopped = stopped

    def put(self, part: Sequence[S]) -> None:
        """Waits for room. Raises Stopped."""
        if not part:
            return
        if self._stopped.is_set():
            raise Stopped
        try:
            putting = asyncio.run_coroutine_threadsafe(self._queue.put(part), self._loop)
        except RuntimeError as error:
            # The loop is closed.
            raise Stopped from error
        while True:
            try:
                putting.result(_GLANCE)
                return
            except TimeoutError:
                if self._stopped.is_set():
                    putting.cancel()
                    raise Stopped from None

    async def end(self) -> None:
        await self._queue.put(None)

    async def take(self) -> Sequence[S] | None:
        """None: there is no more."""
        return await self._queue.get()


def in_thread(work: Callable[[], T]) -> "asyncio.Future[T]":
    """A thread of its own that nobody waits for when the program ends: a request in it may take half a minute yet, and the
    pool that all share must not be full of those."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            if not done.cancelled():
                done.set_exception(error)
        else:
            if not done.cancelled():
                done.set_result(result)

    threading.Thread(target=run, name="certwatch-aws", daemon=True).start()
    return asyncio.wrap_future(done)
