"""What is asked at once: answers in the order in which they come, and nothing left under way."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from collectors.as_they_end import as_they_end

pytestmark = pytest.mark.anyio


async def test_answers_come_in_the_order_in_which_they_end() -> None:
    first = asyncio.Event()

    async def late() -> str:
        await first.wait()
        return "late"

    async def soon() -> str:
        first.set()
        return "soon"

    async with as_they_end([late(), soon()]) as answers:
        assert [await each for each in answers] == ["soon", "late"]


@pytest.mark.parametrize("failing", [False, True])
async def test_who_leaves_early_leaves_nothing_under_way(failing: bool) -> None:
    ended = []

    async def never() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            # It is waited for until it has tidied up.
            await asyncio.sleep(0)
            ended.append("never")
        return ""

    async def answer() -> str:
        if failing:
            raise LookupError
        return "answered"

    asked: list[Coroutine[Any, Any, str]] = [never(), answer()]
    try:
        async with as_they_end(asked) as answers:
            for each in answers:
                assert await each == "answered"
                break
    except LookupError:
        assert failing
    assert ended == ["never"]
