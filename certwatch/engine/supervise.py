"""Tasks that must go on: one that ends by an error of ours is logged, shown, and begun again."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable

from certwatch.telemetry.logs import get_logger

log = get_logger(__name__)

#: Between an end that should not have been and the next beginning.
RESTART_SECONDS = 10.0


async def keep_running(
    name: str,
    work: Callable[[], Awaitable[None]],
    crashed: Callable[[str | None], None],
    *,
    restart_seconds: float = RESTART_SECONDS,
) -> None:
    """Run `work` until it returns. It raises: told to `crashed` (None when it runs again), logged, begun again.
    Cancelled: so is the work."""
    while True:
        task = asyncio.ensure_future(work())
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        error = task.exception()
        if error is None:
            return
        log.error(
            "task_crashed", task=name, error=repr(error), frames="".join(traceback.format_exception(error))
        )
        crashed(f"{name} crashed: {error!r}. See the log")
        await asyncio.sleep(restart_seconds)
        crashed(None)
