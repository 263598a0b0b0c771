import asyncio
from pathlib import Path

import pytest

from certwatch.ca.authority import Authority
from certwatch.ca.shipping import BATCH, Shipping, _position
from certwatch.model.ledger_entry import LedgerEntry
from tests.support.cas import authority, site_of

pytestmark = pytest.mark.anyio


def later(ca: Authority) -> None:
    with ca.act() as act:
        act.append("later", [{}])


async def test_entries_are_told_once_and_in_order_over_a_restart(tmp_path: Path) -> None:
    told: list[LedgerEntry] = []
    enough = asyncio.Event()

    async def tell(entries: tuple[LedgerEntry, ...]) -> None:
        told.extend(entries)
        enough.set()

    async def until(size: int) -> None:
        async with asyncio.timeout(15):
            while len(told) < size:
                enough.clear()
                await enough.wait()

    with authority(tmp_path) as ca:
        with ca.act() as act:
            act.append("test", [{"number": each} for each in range(2 * BATCH)])
        for _ in range(2):
            service = site_of(ca).service
            shipping = asyncio.create_task(Shipping(service, tell).run())
            await until(ca.ledger.size)

            await service.act(later)
            await until(ca.ledger.size)
            async with asyncio.timeout(15):
                while await service.read(_position) < ca.ledger.size:  # noqa: ASYNC110 - it waits for a row
                    await asyncio.sleep(0)
            shipping.cancel()
            await asyncio.gather(shipping, return_exceptions=True)
            await service.close()
        assert [each.position for each in told] == list(range(ca.ledger.size))
        assert [each.kind for each in told[-1:]] == ["later"]
        assert told[-1].origin == ca.ledger.origin
