"""What certwatch answers over HTTP, beside what exporters answer. Nothing here reads the inventory on the event loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from certwatch.inventory.store import InventoryError
from certwatch.web.access import HostCheck, TimeLimit, may_reload
from certwatch.web.page import CONTENT_SECURITY_POLICY, render
from certwatch.web.status import Status

#: How long what was read from the inventory is shown again.
STATUS_SECONDS = 5.0
MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the pages know of the running certwatch."""

    version: str
    #: Why it does not do its work fully; empty: it does.
    not_ready: Callable[[], Sequence[str]]
    #: Plug-ins that could not be made.
    broken: Callable[[], Sequence[str]]
    #: Blocking; raises InventoryError.
    status: Callable[[], Status]
    #: Take the config anew: what is wrong with it; empty: it was taken.
    reload: Callable[[], Awaitable[Sequence[str]]]
    #: The host names by which a server on loopback may be called, beside IP addresses and localhost.
    #: None: any, since it does not listen on loopback alone.
    host_names: frozenset[str] | None = None


def make_app(site: Site, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """`routes`: those of the exporters; ours come first."""
    pages = _Pages(site)
    return Starlette(
        routes=[
            Route("/", pages.index, methods=["GET"]),
            Route("/-/healthy", pages.healthy, methods=["GET"]),
            Route("/-/ready", pages.ready, methods=["GET"]),
            Route("/-/reload", pages.reload, methods=["POST"]),
            Route("/api/v1/status", pages.status, methods=["GET"]),
            *routes,
        ],
        middleware=[Middleware(TimeLimit), Middleware(HostCheck, names=site.host_names)],
        exception_handlers={404: _not_found, 405: _wrong_method},
        max_body_size=MAX_BODY_BYTES,
    )


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site
        # One reads the inventory, whoever comes meanwhile waits and takes what that one has read.
        self._reading = asyncio.Lock()
        self._status: Status | None = None
        self._read = -STATUS_SECONDS

    async def healthy(self, request: Request) -> Response:
        return PlainTextResponse("healthy\n")

    async def ready(self, request: Request) -> Response:
        reasons = self._site.not_ready()
        if reasons:
            return PlainTextResponse("not ready\n" + "".join(f"{each}\n" for each in reasons), 503)
        return PlainTextResponse("ready\n")

    async def reload(self, request: Request) -> Response:
        refusal = may_reload(request)
        if refusal is not None:
            return PlainTextResponse(refusal + "\n", 403)
        wrong = await self._site.reload()
        if wrong:
            return PlainTextResponse(
                "The config was refused; the one before goes on.\n" + "".join(f"{each}\n" for each in wrong),
                400,
            )
        return PlainTextResponse("reloaded\n")

    async def _read_status(self) -> Status:
        async with self._reading:
            if self._status is None or time.monotonic() - self._read > STATUS_SECONDS:
                self._status = await asyncio.to_thread(self._site.status)
                self._read = time.monotonic()
            return self._status

    async def index(self, request: Request) -> Response:
        site = self._site
        try:
            status = await self._read_status()
        except InventoryError as error:
            return PlainTextResponse(f"{error.message}\n", 503)
        text = render(status, not_ready=site.not_ready(), broken=site.broken(), version=site.version)
        return HTMLResponse(text, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY, **_HEADERS})

    async def status(self, request: Request) -> Response:
        site = self._site
        reasons = site.not_ready()
        try:
            status = await self._read_status()
        except InventoryError as error:
            return JSONResponse({"error": error.message}, 503)
        return JSONResponse(
            {
                "version": site.version,
                "ready": not reasons,
                "not_ready": list(reasons),
                "broken_plugins": list(site.broken()),
                "read_at": _instant(status.read_at),
                "certificates": status.counts.certificates,
                "locations": status.counts.locations,
                "open_findings": dict(status.counts.open_findings),
                "scans": [
                    {
                        "collector": scan.collector,
                        "status": scan.status,
                        "started_at": _instant(scan.started_at),
                        "finished_at": _instant(scan.finished_at),
                        "observations": scan.observations,
                        "errors": scan.errors,
                        "error": None
                        if scan.error is None
                        else {"kind": scan.error.kind, "message": scan.error.message},
                    }
                    for scan in status.scans
                ],
            },
            headers=_HEADERS,
        )


_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def _instant(instant: Any) -> str | None:
    return None if instant is None else instant.isoformat().replace("+00:00", "Z")


async def _not_found(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"There is nothing at {request.url.path}. See /\n", 404)


async def _wrong_method(request: Request, error: Exception) -> Response:
    headers = getattr(error, "headers", None) or {}
    allowed = headers.get("Allow", "")
    return PlainTextResponse(
        f"{request.method} is not answered at {request.url.path}. Use {allowed or 'another method'}\n",
        405,
        headers=headers,
    )
