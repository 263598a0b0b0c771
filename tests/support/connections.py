"""A port of the test's own loop, whose connections end with the test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served_connections(serve: Serve, *, limit: int = 1 << 16) -> AsyncIterator[int]:
    """A free port on loopback. `serve` may be left by a client at any time. `limit`: bytes that a reader looks through."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            # Cancelled at the end: asyncio's own callback of such a task would complain. RuntimeError: uvloop's word for a client that
            # has gone.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError, RuntimeError):
                await serve(reader, writer)
        finally:
            tasks.discard(task)
            with suppress(OSError, RuntimeError):
                writer.close()
                await writer.wait_closed()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0, limit=limit)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listening.wait_closed()
