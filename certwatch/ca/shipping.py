"""Telling the ledger's entries to exporters (SIEM): each at least once, in order, also those from before they listened."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import msgspec

from certwatch.ca.authority import Authority, instant
from certwatch.ca.failure import CAError
from certwatch.ca.ledger import Entry
from certwatch.ca.service import Service
from certwatch.model.ledger_entry import LedgerEntry
from certwatch.telemetry.logs import get_logger

log = get_logger(__name__)

BATCH = 500
#: An exporter that does not take them holds up the others so long, then they go on.
DRAIN_SECONDS = 60.0
RETRY_SECONDS = 20.0

#: Hands entries to every exporter; returns when each has taken them.
Tell = Callable[[tuple[LedgerEntry, ...]], Awaitable[None]]


class _At(msgspec.Struct):
    kind: str
    at: int


class Shipping:
    """Owned by the event loop's thread. How far it is stands in the CA's file."""

    def __init__(self, service: Service, tell: Tell) -> None:
        self._service, self._tell = service, tell
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._arrived.set()
        service.authority.ledger.listeners.append(self._told)

    def _told(self, entries: Sequence[Entry]) -> None:
        """In the acting thread."""
        self._loop.call_soon_threadsafe(self._arrived.set)

    async def run(self) -> None:
        """Until cancelled."""
        position = await self._service.read(_position)
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            try:
                while batch := await self._service.read(partial(self._after, position)):
                    try:
                        async with asyncio.timeout(DRAIN_SECONDS):
                            await self._tell(batch)
                    except TimeoutError:
                        log.warning("ledger_not_taken", entries=len(batch), position=batch[0].position)
                    position = batch[-1].position + 1
                    await self._service.act(partial(_keep, position))
            except CAError as error:
                log.error("ledger_not_told", kind=error.kind, error=error.message)
                await asyncio.sleep(RETRY_SECONDS)
                self._arrived.set()

    def _after(self, position: int, connection: sqlite3.Connection) -> tuple[LedgerEntry, ...]:
        origin = self._service.authority.ledger.origin
        rows = connection.execute(
            "SELECT position, entry FROM ledger WHERE position >= ? ORDER BY position LIMIT ?",
            (position, BATCH),
        )
        found = []
        for at, data in rows:
            body = msgspec.json.decode(data, type=_At)
            found.append(
                LedgerEntry(origin=origin, position=at, kind=body.kind, at=instant(body.at), data=bytes(data))
            )
        return tuple(found)


def _position(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT value FROM meta WHERE key = 'told'").fetchone()
    return int(row[0]) if row is not None else 0


def _keep(position: int, authority: Authority) -> None:
    with authority.act() as act:
        act.connection.execute(
            "INSERT INTO meta VALUES ('told', ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            (position,),
        )
