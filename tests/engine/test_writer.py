import asyncio
import threading
from pathlib import Path

import pytest

from certwatch.engine.writer import WriterThread
from certwatch.inventory import open_inventory
from certwatch.inventory.store import InventoryError, Writer

pytestmark = pytest.mark.anyio


async def test_steps_run_in_one_thread_in_order(tmp_path: Path) -> None:
    thread = WriterThread(open_inventory(f"sqlite://{tmp_path}/inventory.db").writer())
    order: list[int] = []
    threads: set[int] = set()

    def step(number: int, writer: Writer) -> None:
        order.append(number)
        threads.add(threading.get_ident())

    await asyncio.gather(*[thread.call(lambda it, n=n: step(n, it)) for n in range(30)])  # type: ignore[misc]
    assert order == list(range(30))
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    await thread.close()


async def test_a_step_that_has_begun_ends_though_its_caller_was_cancelled(tmp_path: Path) -> None:
    thread = WriterThread(open_inventory(f"sqlite://{tmp_path}/inventory.db").writer())
    begun, release, done = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def step(writer: Writer) -> None:
        loop.call_soon_threadsafe(begun.set)
        release.wait(5)
        done.set()
        raise InventoryError("full", "no space left")  # nobody is there to hear it

    caller = asyncio.create_task(thread.call(step))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    release.set()
    await thread.close()
    assert done.is_set()


async def test_what_could_not_be_written_is_remembered_until_something_is(tmp_path: Path) -> None:
    thread = WriterThread(open_inventory(f"sqlite://{tmp_path}/inventory.db").writer())

    def refuse(writer: Writer) -> None:
        raise InventoryError("full", "no space left")

    with pytest.raises(InventoryError):
        await thread.call(refuse)
    await asyncio.sleep(0)
    failures = [thread.failure]
    await thread.call(lambda writer: None)
    await asyncio.sleep(0)
    failures.append(thread.failure)
    assert [each and each.kind for each in failures] == ["full", None]
    await thread.close()


async def test_closing_gives_the_lock_back(tmp_path: Path) -> None:
    store = open_inventory(f"sqlite://{tmp_path}/inventory.db")
    thread = WriterThread(store.writer())
    with pytest.raises(InventoryError, match="only one may"):
        store.writer()
    await thread.close()
    store.writer().close()
