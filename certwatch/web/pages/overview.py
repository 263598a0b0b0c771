"""`/` and `/collectors`: how things stand."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from certwatch.engine.engine import CollectorState
from certwatch.inventory.store import InventoryError
from certwatch.model.observation import Scan
from certwatch.web.pages.page import Pages
from certwatch.web.render import render
from certwatch.web.reply import HTML, reply, zips

SHOWN_OWNERS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorRow:
    name: str
    #: Empty: not configured any more, or put in by hand.
    kind: str
    #: The last that ended. None: none has.
    scan: Scan | None
    running: bool
    next_run: datetime | None
    #: True: the plug-in could not be made.
    broken: bool
    #: Why it is broken, or why the last scan was not complete. Empty: all is well.
    why: str


def collector_rows(states: Sequence[CollectorState], scans: Sequence[Scan]) -> list[CollectorRow]:
    """Those configured, in that order, then others that have scanned."""
    last = {scan.collector: scan for scan in scans}
    rows = []
    for state in states:
        scan = last.pop(state.name, None)
        rows.append(
            CollectorRow(
                name=state.name,
                kind=state.kind,
                scan=scan,
                running=state.running,
                next_run=state.next_run,
                broken=bool(state.broken),
                why=state.broken or _why(scan),
            )
        )
    rows += [
        CollectorRow(
            name=scan.collector,
            kind="",
            scan=scan,
            running=False,
            next_run=None,
            broken=False,
            why=_why(scan),
        )
        for scan in last.values()
    ]
    return rows


def _why(scan: Scan | None) -> str:
    return scan.error.message if scan is not None and scan.error is not None else ""


class Overview:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def overview(self, request: Request) -> Response:
        site = self._pages.site
        return await self._show(
            request,
            "overview.html",
            {
                "stands_by": site.stands_by,
                "not_ready": site.not_ready(),
                "broken": site.broken(),
                "shown_owners": SHOWN_OWNERS,
            },
        )

    async def collectors(self, request: Request) -> Response:
        return await self._show(request, "collectors.html", {})

    async def _show(self, request: Request, template: str, values: dict[str, object]) -> Response:
        pages = self._pages
        try:
            status = await pages.reads.status()
        except InventoryError as error:
            return pages.failed(request, error)
        shown = {
            **pages.frame(request),
            **values,
            "status": status,
            "rows": collector_rows(pages.site.collectors(), status.scans),
        }
        zipped = zips(request)
        return await asyncio.to_thread(lambda: reply(render(template, **shown), HTML, zip=zipped))
