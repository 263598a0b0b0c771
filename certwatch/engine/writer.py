"""The one thread that writes. The event loop hands it steps and never waits for the disk."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from certwatch.inventory.store import InventoryError, Writer
from certwatch.telemetry.logs import get_logger

log = get_logger(__name__)

#: Steps that wait or run. Who comes later waits to hand its step over.
PENDING_STEPS = 8

T = TypeVar("T")


class WriterThread:
    """Owns the inventory's writer: every call of it goes through `call`, one at a time, in order of arrival."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inventory-writer")
        self._room = asyncio.Semaphore(PENDING_STEPS)
        #: Why the last step could not be written. None: it could be.
        self.failure: InventoryError | None = None

    async def call(self, step: Callable[[Writer], T]) -> T:
        """Run one step in the thread. Raises InventoryError.

        Cancelled while it waits for room: the step is never run. Cancelled later: it is run to its end all the
        same, since a transaction cannot be left half-way.
        """
        async with self._room:
            running = asyncio.get_running_loop().run_in_executor(self._executor, step, self._writer)
            running.add_done_callback(self._note)
            return await asyncio.shield(running)

    def _note(self, done: asyncio.Future[T]) -> None:
        # Reads the exception too: where the caller was cancelled, nobody else does.
        error = None if done.cancelled() else done.exception()
        failure = error if isinstance(error, InventoryError) else None
        if failure is not None and (self.failure is None or self.failure.kind != failure.kind):
            log.error("inventory_not_written", reason=failure.kind, error=failure.message)
        elif failure is None and self.failure is not None:
            log.info("inventory_written_again")
        self.failure = failure

    async def close(self) -> None:
        """After the steps under way, close the writer and give its lock back."""
        await self.call(lambda writer: writer.close())
        await asyncio.to_thread(self._executor.shutdown)
