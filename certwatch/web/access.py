"""Who may ask for what, and for how long. Pure ASGI, around everything that is answered."""

import asyncio
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The longest that one request may take, a slow reader of the answer included.
REQUEST_SECONDS = 60.0

#: Set by proxies and never by a client of ours.
_FORWARDED = ("forwarded", "x-forwarded-for", "via")


class TimeLimit:
    def __init__(self, app: ASGIApp, seconds: float = REQUEST_SECONDS) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(self._seconds):
                await self._app(scope, receive, sending)
        except TimeoutError:
            if begun:
                raise  # half an answer: the connection is closed
            await PlainTextResponse("It took too long. Try again\n", 503)(scope, receive, send)


class HostCheck:
    """Keeps web pages of strangers from reading a server on loopback through their visitor's browser (DNS rebinding):
    such a request names the stranger's host. IP addresses cannot be rebound."""

    def __init__(self, app: ASGIApp, names: frozenset[str] | None) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._names is not None:
            host = Request(scope).headers.get("host", "")
            if not self._is_ours(host):
                refusal = PlainTextResponse(
                    "This server listens on loopback and answers to IP addresses and localhost alone."
                    " Behind a proxy, set external_url to the address that people use\n",
                    421,
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        name = _name_of(host)
        if name is None:
            return False
        return name == "" or name in (self._names or ())


@lru_cache(maxsize=256)
def _name_of(host: str) -> str | None:
    """Of a Host header: its name; empty: this host itself or an address; None: it is none."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return None
    if name == "localhost" or name.endswith(".localhost") or _is_address(name):
        return ""
    return name or None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def may_reload(request: Request) -> str | None:
    """Why not; None: it may. Programs on this machine may; browsers and what comes through a proxy may not."""
    peer = request.client.host if request.client is not None else ""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        local = False
    else:
        local = (getattr(address, "ipv4_mapped", None) or address).is_loopback
    if not local or any(each in request.headers for each in _FORWARDED):
        return "Reloading is for programs on this machine. Send SIGHUP, or POST from the host itself"
    # A browser says where a POST comes from, whoever wrote the page.
    if "origin" in request.headers or request.headers.get("sec-fetch-site", "none") != "none":
        return "Reloading is not for browsers. Use: curl -X POST"
    return None
