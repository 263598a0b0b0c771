import asyncio

import pytest

from collectors.tls.results import Results

pytestmark = pytest.mark.anyio


async def test_what_was_put_is_taken_in_order_then_the_end() -> None:
    results: Results[int] = Results(10)
    results.put(1)
    results.put(2)
    results.close()
    assert await results.take() == [1, 2]
    assert await results.take() == []
    assert await results.take() == []


async def test_a_failure_comes_after_what_was_there() -> None:
    results: Results[int] = Results(10)
    results.put(1)
    results.close(RuntimeError("broken"))
    assert await results.take() == [1]
    with pytest.raises(RuntimeError, match="broken"):
        await results.take()


async def test_producers_wait_for_room_and_the_consumer_for_items() -> None:
    results: Results[int] = Results(3)
    most = 0

    async def produce() -> None:
        nonlocal most
        for number in range(100):
            await results.room()
            results.put(number)
            most = max(most, len(results._items))
        results.close()

    producing = asyncio.create_task(produce())
    taken: list[int] = []
    while batch := await results.take():
        taken += batch
    await producing
    assert taken == list(range(100))
    assert most == 3
