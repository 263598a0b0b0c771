import asyncio

import pytest

from certwatch.engine.supervise import keep_running

pytestmark = pytest.mark.anyio


async def test_work_that_crashes_is_shown_and_begun_again() -> None:
    runs = 0
    told: list[str | None] = []

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ZeroDivisionError("a bug")

    await keep_running("evaluation", work, told.append, restart_seconds=0)
    assert runs == 2
    assert told == ["evaluation crashed: ZeroDivisionError('a bug'). See the log", None]


async def test_cancelling_cancels_the_work_and_waits_for_its_end() -> None:
    begun = asyncio.Event()
    ended: list[bool] = []

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    task = asyncio.create_task(keep_running("x", work, lambda why: None))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_it_ends_when_the_work_does() -> None:
    async def work() -> None:
        return

    await keep_running("x", work, lambda why: None)
