"""What a web config says of every request: who may ask, how often, with which headers it is answered. Pure ASGI.

Without a web config, a server that strangers can reach answers what is harmless to them, and nothing else.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

import bcrypt
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from certwatch.web.web_config import WebConfig

#: Passwords that were right, by a keyed digest: a hash is computed once, not with every scrape.
REMEMBERED = 1000
#: Hashes under way at once; each takes a processor for some 70 ms.
AT_ONCE = 2
#: Such requests that wait for their turn; more are refused.
WAITING = 50
#: bcrypt looks at no more, and its library refuses more.
_MOST_BYTES = 72
#: Compared with where the user is unknown, so that the time does not tell that it is. Of no password that is known.
_NOBODY = b"$2b$10$qCcJfuaPGbmIIZS9lSxXEenmnOLWXz9vqsKGYMNpMLbjuk.DDZnTq"

#: What a server that strangers can reach answers without a web config.
OPEN_PATHS = frozenset({"/metrics", "/-/healthy", "/-/ready"})


class WebGuard:
    """Around everything that is answered. `config` is asked anew at each request."""

    def __init__(self, app: ASGIApp, config: Callable[[], WebConfig]) -> None:
        self._app = app
        self._config = config
        self._secret = os.urandom(32)
        # Owned by the event loop.
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._bucket: tuple[float, float] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        config = self._config()
        sending = _with_headers(send, config.headers) if config.headers else send
        refusal = self._too_fast(config) or await self._unknown(Request(scope), config)
        await (refusal or self._app)(scope, receive, sending)

    def _too_fast(self, config: WebConfig) -> PlainTextResponse | None:
        """A token bucket over all requests, as the exporter-toolkit has it."""
        if not config.interval_seconds:
            return None
        now, burst = time.monotonic(), float(max(config.burst, 1))
        tokens, since = self._bucket or (burst, now)
        tokens = min(burst, tokens + (now - since) / config.interval_seconds)
        self._bucket = (max(tokens - 1, 0.0) if tokens >= 1 else tokens, now)
        return None if tokens >= 1 else PlainTextResponse("Too many requests. Come back later\n", 429)

    async def _unknown(self, request: Request, config: WebConfig) -> PlainTextResponse | None:
        if not config.users:
            return None
        given = _credentials(request.headers.get("authorization", ""))
        if given is not None:
            user, password = given
            hashed = config.users.get(user)
            token = hmac.digest(
                self._secret,
                b"\0".join([user.encode(), hashlib.sha256(password).digest(), hashed or b""]),
                "sha256",
            )
            if hashed is not None and token in self._right:
                self._right.move_to_end(token)
                return None
            if self._waiting >= WAITING:
                return PlainTextResponse("Too many requests that must be checked. Come back later\n", 429)
            self._waiting += 1
            try:
                async with self._turns:
                    right = await asyncio.to_thread(_is_right, password, hashed or _NOBODY)
            finally:
                self._waiting -= 1
            if right and hashed is not None:
                self._right[token] = None
                if len(self._right) > REMEMBERED:
                    self._right.popitem(last=False)
                return None
        return PlainTextResponse(
            "Unauthorized\n", 401, headers={"WWW-Authenticate": 'Basic realm="certwatch", charset="UTF-8"'}
        )


def _credentials(header: str) -> tuple[str, bytes] | None:
    """User and password (RFC 7617, 2). None: there are none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None


def _is_right(password: bytes, hashed: bytes) -> bool:
    """Blocking: a processor for as long as the hash's cost says. Other programs cut longer passwords."""
    if b"\0" in password:
        return False
    # $2x$ is of a bug of 2011 and not known here; $2y$ is what $2b$ is.
    return bcrypt.checkpw(password[:_MOST_BYTES], b"$2b$" + hashed.split(b"$", 2)[2])


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    named = {name.lower().encode(): value.encode("latin-1", "replace") for name, value in headers.items()}

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            others = [each for each in message["headers"] if each[0].lower() not in named]
            message = {**message, "headers": [*others, *named.items()]}
        await send(message)

    return sending


class OnlyTelemetry:
    """For a server that strangers can reach, while its web config has neither TLS nor users. `config` is asked anew at
    each request: a file that is being written may be empty for a moment."""

    def __init__(self, app: ASGIApp, config: Callable[[], WebConfig] = WebConfig) -> None:
        self._app = app
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS and self._config().is_open:
            refusal = PlainTextResponse(
                "This server listens on an address that others can reach, and has no web_config with TLS or users:"
                " only /metrics, /-/healthy and /-/ready are answered. Give its exporter a web_config, listen on loopback,"
                " or start certwatch with --insecure-listen\n",
                403,
            )
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)
