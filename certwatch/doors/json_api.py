"""JSON APIs of services that the operator named, page by page, at a rate, each request counted; credentials go to nobody else.

For tasks of the event loop that list many thousand things. `rest` is for threads, and for who wants the bytes.
"""

import asyncio
import os
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import msgspec

from certwatch.doors.failure import LookFailed
from certwatch.model.clock import Clock
from certwatch.model.observation import ErrorKind
from certwatch.telemetry.metrics import REST_REQUESTS

#: Of one page. As objects it may take twenty times as much.
MAX_BYTES = 32 << 20
#: Pages of one listing.
MAX_PAGES = 100_000
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0
_SHOWN = 300
_ERROR_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    #: What the JSON says.
    content: Any
    #: URL of the next page, by the Link header (RFC 8288, rel="next"). Empty: there is none.
    following: str = ""


#: Headers that say who asks; True: those before were refused. Raises RestError.
Credentials = Callable[[bool], Awaitable[Mapping[str, str]]]


class RestError(LookFailed):
    """`status`: 0 means that there was no answer. `said`: the service's own words, as it gave them; empty: none."""

    def __init__(self, kind: ErrorKind, message: str, *, status: int = 0, said: str = "") -> None:
        super().__init__(kind, message)
        self.status = status
        self.said = said


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    #: Requests a second.
    rate: float = 20.0
    #: Attempts at one request.
    attempts: int = 6
    #: Seconds to connect, and between two parts of an answer.
    timeout: float = 30.0
    concurrency: int = 8


#: A token is a line.
_TOKEN_BYTES = 64 << 10


def bearer_from_file(path: str) -> Mapping[str, str]:
    """Headers with a token that something else keeps fresh. Blocking; raises RestError."""
    try:
        with open(os.path.expanduser(path), "rb") as file:
            token = file.read(_TOKEN_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not ASCII"
        raise RestError("permission", f"token_file {path} cannot be read: {reason}") from error
    if not token or not token.isprintable():
        raise RestError("permission", f"token_file {path} holds no token")
    return {"Authorization": f"Bearer {token}"}


async def nobody(refused: bool) -> Mapping[str, str]:
    """No credentials."""
    return {}


class RestClient:
    """`async with` it. One to a service; many tasks may share it."""

    def __init__(
        self,
        service: str,
        origin: str,
        *,
        clock: Clock,
        credentials: Credentials = nobody,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`service`: in metrics. `origin`: scheme, host and port, and what stands before every path."""
        limits = limits or Limits()
        self.service = service
        self.origin = origin.rstrip("/")
        self._clock = clock
        self._credentials = credentials
        self._sleep = sleep
        self._limits = limits
        self._headers = {"Accept": "application/json", "User-Agent": "certwatch", **(headers or {})}
        # Guards how many are under way, and when the next one may begin.
        self._turn = asyncio.Semaphore(limits.concurrency)
        self._next = 0.0
        self._http = httpx.AsyncClient(
            verify=tls or _public(),
            timeout=limits.timeout,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=limits.concurrency),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._http.aclose()

    def url(self, path: str) -> str:
        """A path below the origin, or a whole URL of the same origin (a link to the next page). Raises RestError: it leads
        elsewhere."""
        if path.startswith("/"):
            return self.origin + path
        own = urlsplit(self.origin)
        try:
            other = urlsplit(path)
            same = (own.scheme, own.hostname, own.port) == (other.scheme, other.hostname, other.port)
            same = same and other.username is None
        except ValueError:
            same = False
        if not same:
            raise RestError(
                "permission",
                f"{self.origin}: names a page elsewhere ({_shown(path)!r}), which is not asked.",
            )
        return path

    async def get(self, path: str, parameters: Mapping[str, str | int] | None = None) -> Any:
        """What the JSON says. Raises RestError."""
        return (await self.ask("GET", path, parameters)).content

    async def ask(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str | int] | None = None,
        body: object = None,
    ) -> Answer:
        """As `get`, by any method. Raises RestError."""
        url = self.url(path)
        content = None if body is None else msgspec.json.encode(body)
        refused = False
        attempt = 0
        while True:
            attempt += 1
            async with self._turn:
                await self._wait_for_turn()
                headers = {**self._headers, **await self._credentials(refused)}
                if content is not None:
                    headers["Content-Type"] = "application/json"
                answer, pause = await self._attempt(method, url, parameters, content, headers)
            if not isinstance(answer, RestError):
                return answer
            if answer.status == 401 and not refused:
                # A token that ended meanwhile.
                refused = True
                continue
            if pause is None or attempt >= self._limits.attempts:
                raise answer
            backoff = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
            await self._sleep(max(pause, random.uniform(backoff / 2, backoff)))  # noqa: S311 - so that not all come at once

    async def _wait_for_turn(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._next = max(self._next, now - 1.0) + 1.0 / self._limits.rate
        if self._next > now:
            await asyncio.sleep(self._next - now)

    async def _attempt(
        self,
        method: str,
        url: str,
        parameters: Mapping[str, str | int] | None,
        content: bytes | None,
        headers: Mapping[str, str],
    ) -> tuple[Answer | RestError, float | None]:
        """The answer, or the RestError that it is, with seconds after which trying again makes sense (None: it does not)."""
        where = url.partition("?")[0]
        outcome = "other"
        try:
            async with (
                asyncio.timeout(self._limits.timeout * 4),
                self._http.stream(
                    method, url, params=parameters, content=content, headers=headers
                ) as response,
            ):
                limit = MAX_BYTES if response.is_success else _ERROR_BYTES
                data = await _body(response, limit)
            if response.is_success:
                if len(data) > limit:
                    outcome = "malformed"
                    return RestError("malformed", f"{where}: answers with more than {limit} bytes."), None
                outcome = "ok"
                return Answer(content=_json(where, data), following=_following(response)), None
            refused = _refused(where, response.status_code, data[:limit])
            outcome = "throttled" if response.status_code == 429 else refused.kind
            again = response.status_code in _AGAIN
            return refused, self._retry_after(response.headers) if again else None
        except RestError as error:
            outcome = error.kind
            return error, None
        except (TimeoutError, httpx.TimeoutException):
            outcome = "timeout"
            return RestError("timeout", f"{where}: no answer in time."), 0.0
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, UnicodeError) as error:
            outcome = "malformed"
            return RestError("malformed", f"{where}: cannot be asked: {_shown(str(error))}."), None
        except (httpx.RemoteProtocolError, httpx.DecodingError) as error:
            outcome = "malformed"
            return RestError("malformed", f"{where}: no HTTP as it should be: {_shown(str(error))}."), 0.0
        except httpx.HTTPError as error:
            failed = _not_connected(where, error)
            outcome = failed.kind
            return failed, 0.0
        finally:
            REST_REQUESTS.labels(self.service, outcome).inc()

    def _retry_after(self, headers: httpx.Headers) -> float:
        text = headers.get("retry-after", "").strip()
        if text.isdigit() and text.isascii() and len(text) < 8:
            return min(float(text), _LONGEST_PAUSE)
        try:
            until = parsedate_to_datetime(text)
            return min(max(0.0, (until - self._clock()).total_seconds()), _LONGEST_PAUSE)
        except (TypeError, ValueError):
            return 0.0

    async def pages(
        self,
        path: str,
        parameters: Mapping[str, str | int] | None = None,
        *,
        following: Callable[[Mapping[str, Any]], tuple[str, Mapping[str, str | int] | None] | None],
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Page by page. `following`: of a page the path and parameters of the next one; None: it was the last. Raises
        RestError; so does a listing that turns in a circle."""
        asked = set()
        for _ in range(MAX_PAGES):
            key = (path, tuple(sorted((parameters or {}).items())))
            if key in asked:
                raise RestError(
                    "malformed", f"{self.url(path).partition('?')[0]}: names a page twice as the next."
                )
            asked.add(key)
            page = await self.get(path, parameters)
            if not isinstance(page, Mapping):
                raise RestError("malformed", f"{self.url(path).partition('?')[0]}: answers no JSON object.")
            yield page
            more = following(page)
            if more is None:
                return
            path, parameters = more
        raise RestError("malformed", f"{self.url(path).partition('?')[0]}: more than {MAX_PAGES} pages.")


def _following(response: httpx.Response) -> str:
    link = response.links.get("next", {}).get("url", "")
    return str(response.url.join(link)) if link else ""


@cache
def _public() -> ssl.SSLContext:
    """One for all: reading the system's roots takes longer than a request."""
    return ssl.create_default_context()


async def _body(response: httpx.Response, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes(1 << 16):
        parts.append(part)
        size += len(part)
        if size > limit:
            break
    return b"".join(parts)


def _json(where: str, data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RestError("malformed", f"{where}: answers no JSON: {_shown(str(error))}.") from error


def _refused(where: str, status: int, data: bytes) -> RestError:
    kinds: dict[int, ErrorKind] = {401: "permission", 403: "permission", 404: "not-found", 410: "not-found"}
    said = _said(data)
    text = f": {_shown(said)}" if said else ""
    return RestError(
        kinds.get(status, "other"), f"{where}: answers {status}{text}.", status=status, said=said
    )


def _said(data: bytes) -> str:
    """The message in the envelopes that APIs use. Empty: none is known."""
    try:
        tree = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
    for step in ("error", "errors", 0, "message"):
        if isinstance(tree, str):
            break
        if isinstance(step, int):
            tree = tree[0] if isinstance(tree, list) and tree else tree
        elif isinstance(tree, Mapping) and step in tree:
            tree = tree[step]
    if isinstance(tree, Mapping):
        tree = next(
            (tree[key] for key in ("message", "msg", "detail", "title") if isinstance(tree.get(key), str)), ""
        )
    return tree.rstrip(".") if isinstance(tree, str) else ""


def _not_connected(where: str, error: httpx.HTTPError) -> RestError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return RestError(
                "tls-alert", f"{where}: its own certificate is not trusted: {cause.verify_message}."
            )
        if isinstance(cause, ssl.SSLError):
            return RestError("not-tls", f"{where}: TLS failed: {_shown(str(cause))}.")
        if isinstance(cause, ConnectionRefusedError):
            return RestError("refused", f"{where}: nothing listens there.")
        cause = cause.__cause__ or cause.__context__
    return RestError(
        "unreachable", f"{where}: cannot be reached: {_shown(str(error) or type(error).__name__)}."
    )


def _shown(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)[:_SHOWN].rstrip(". ")
