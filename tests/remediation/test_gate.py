"""Nobody writes a pair of files while a server is made to read them."""

import asyncio

import pytest

from certwatch.remediation.again import Again
from certwatch.remediation.gate import Gate

pytestmark = pytest.mark.anyio


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_writers_write_together_and_a_reload_waits_for_all_of_them() -> None:
    gate, said = Gate(), list[str]()
    end = [asyncio.Event(), asyncio.Event()]

    async def write(number: int) -> None:
        async with gate.writing():
            said.append(f"write {number}")
            await end[number].wait()
        said.append(f"written {number}")

    async def take_up() -> None:
        async with gate.taking_up():
            said.append("taken up")

    async def late() -> None:
        async with gate.writing():
            said.append("late")

    async with asyncio.TaskGroup() as group:
        group.create_task(write(0))
        group.create_task(write(1))
        await settled()
        group.create_task(take_up())
        await settled()
        # It waits its turn, so that who takes up is not kept waiting for ever.
        group.create_task(late())
        end[0].set()
        await settled()
        assert said == ["write 0", "write 1", "written 0"]
        end[1].set()
    assert said[3:] in (["written 1", "taken up", "late"], ["taken up", "written 1", "late"])


async def test_one_that_gives_up_waiting_keeps_nobody_out() -> None:
    gate = Gate()
    async with gate.writing():
        waiting = asyncio.create_task(_taken_up(gate))
        await settled()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(5), gate.writing():
        pass


async def _taken_up(gate: Gate) -> None:
    async with gate.taking_up():
        raise AssertionError("somebody writes")


async def test_many_who_want_a_look_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certwatch.remediation.again.FIRST_SECONDS", 0.01)
    told: list[list[str]] = []
    done = asyncio.Event()

    def tell(names: object) -> None:
        told.append(list(names))  # type: ignore[call-overload]
        done.set()

    again = Again(tell)
    await asyncio.gather(*(asyncio.to_thread(again, [name]) for name in ("edge", "hosts", "edge")))
    async with asyncio.timeout(5):
        await done.wait()
    again(["edge"])
    await settled()
    assert told == [["edge", "hosts"]]
    again.close()
