"""Several looks at once, whose results come out of one bounded stream."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence

from certwatch.model.observation import Incomplete, Observation, Unchanged

Said = Observation | Incomplete | Unchanged
#: Returns when there is room for more.
Put = Callable[[Sequence[Said]], Awaitable[None]]
Work = Callable[[Put], Awaitable[None]]

#: Parts that wait to be taken.
_PARTS = 8


async def several(works: Iterable[Work], *, at_once: int) -> AsyncGenerator[Said, None]:
    """What they put, in any order. Raises what one of them raises. Closed: all of them are cancelled."""
    parts: asyncio.Queue[Sequence[Said] | None] = asyncio.Queue(_PARTS)
    turn = asyncio.Semaphore(at_once)

    async def in_turn(work: Work) -> None:
        async with turn:
            await work(parts.put)

    async def all_of_them() -> None:
        failed: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for work in works:
                    group.create_task(in_turn(work))
        except* Exception as raised:
            # One error is as good as several, and is told without the group around it.
            failed = _first(raised)
        # Not when it is cancelled: nobody takes anything then.
        await parts.put(None)
        if failed is not None:
            raise failed

    running = asyncio.create_task(all_of_them())
    try:
        while (part := await parts.get()) is not None:
            for each in part:
                yield each
        await running
    finally:
        running.cancel()
        await asyncio.wait([running])


def _first(raised: BaseException) -> BaseException:
    while isinstance(raised, BaseExceptionGroup):
        raised = raised.exceptions[0]
    return raised
