"""The one way to fetch a URL. Certificates name URLs (AIA, CRL, OCSP), and what a certificate says is hostile: so are
its URLs, the servers behind them, and their answers."""

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib import import_module
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self

import httpcore

from certwatch.doors.addresses import EVERYWHERE, PUBLIC, AddressPolicy, Network
from certwatch.doors.dns import Resolver
from certwatch.doors.fetch_cache import Cache, FetchCache
from certwatch.doors.guarded_network import FetchError, GuardedNetwork
from certwatch.doors.url import WebAddress, parse_web_address
from certwatch.model.observation import ErrorKind

__all__ = ["FetchCache", "FetchError", "FetchPolicy", "Fetched", "Fetcher"]


def _inflater() -> Any:
    """Inflates twice as fast, if it is there (the extra `ct`); the interface is the same."""
    try:
        return import_module("isal.isal_zlib")
    except ImportError:
        return zlib


_ZLIB = _inflater()
USER_AGENT = "certwatch"
_REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPolicy:
    addresses: AddressPolicy = PUBLIC
    #: Ports below 1024 but 80 and 443 are other protocols', which a request can be made to speak to.
    any_port: bool = False
    #: Of a body, after decompression.
    max_bytes: int = 10 << 20
    #: For all of it: look-up, connection, request, body, redirects.
    timeout_seconds: float = 15.0

    @classmethod
    def configured(cls, *, max_bytes: int = 10 << 20, timeout_seconds: float = 15.0) -> "FetchPolicy":
        """For URLs that the operator wrote: every host but metadata services, every port."""
        return cls(
            addresses=AddressPolicy(allowed=EVERYWHERE),
            any_port=True,
            max_bytes=max_bytes,
            timeout_seconds=timeout_seconds,
        )

    @classmethod
    def certificates(cls, allowed: Iterable[Network] = (), *, max_bytes: int = 10 << 20) -> "FetchPolicy":
        """For URLs that certificates name: the public internet, and the networks that the operator opens."""
        return cls(addresses=AddressPolicy(allowed=tuple(allowed)), max_bytes=max_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    #: Where the body came from, after redirects.
    url: str
    #: 200 to 299; 304: unchanged since it was last fetched through the same cache, `body` is the one from then.
    status: int
    #: Names in lower case; several of one name are joined by ", ".
    headers: Mapping[str, str]
    body: bytes
    #: From the first byte sent to the last one received, names' look-up and connecting included.
    seconds: float

    @property
    def from_cache(self) -> bool:
        return self.status == 304


class Fetcher:
    """Fetches for one scan. `async with` it.

    A name is looked up once, each of its addresses is held against the policy, and the connection goes to the
    address that was checked. No cookies, no credentials, no proxy of the environment, no redirects to elsewhere.
    """

    def __init__(
        self,
        policy: FetchPolicy,
        *,
        cache: Cache | None = None,
        tls: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
        connections: int = 50,
        http2: bool = False,
    ) -> None:
        """`http2`: where the server offers it, and the package `h2` is there (the extra `ct`)."""
        self._policy = policy
        self._cache = cache
        self._resolver = resolver or Resolver(timeout=policy.timeout_seconds)
        # The pool goes over all that wait with each one that comes or goes: of a thousand that takes minutes. They wait here.
        self._turns = asyncio.Semaphore(connections)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or ssl.create_default_context(),
            max_connections=connections,
            keepalive_expiry=10,
            http2=http2 and find_spec("h2") is not None,
            network_backend=GuardedNetwork(self._resolver, policy.addresses),
        )

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._pool.__aexit__(kind, error, traceback)
        await self._resolver.close()

    async def get(
        self, url: str, *, headers: Mapping[str, str] | None = None, max_bytes: int | None = None
    ) -> Fetched:
        """Raises FetchError."""
        return await self._within_time("GET", url, headers or {}, None, max_bytes)

    async def post(
        self,
        url: str,
        content: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        max_bytes: int | None = None,
    ) -> Fetched:
        """Never redirected, never cached. Raises FetchError."""
        return await self._within_time("POST", url, headers or {}, content, max_bytes)

    async def _within_time(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, max_bytes: int | None
    ) -> Fetched:
        async with self._turns:
            return await self._in_turn(method, url, headers, content, max_bytes)

    async def _in_turn(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, max_bytes: int | None
    ) -> Fetched:
        limit = self._policy.timeout_seconds
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(limit):
                address, status, answered, body = await self._follow(
                    method, _address(url, self._policy), headers, content, max_bytes or self._policy.max_bytes
                )
        except TimeoutError as error:
            raise FetchError(
                "timeout", f"{url[:200]}: no whole answer within {limit:g} s.", again=True
            ) from error
        return Fetched(
            url=address.url, status=status, headers=answered, body=body, seconds=loop.time() - started
        )

    async def _follow(
        self,
        method: str,
        address: WebAddress,
        headers: Mapping[str, str],
        content: bytes | None,
        max_bytes: int,
    ) -> tuple[WebAddress, int, Mapping[str, str], bytes]:
        for _ in range(MOST_REDIRECTS + 1):
            status, answered, body = await self._exchange(method, address, headers, content, max_bytes)
            if status not in _REDIRECTS:
                return address, status, answered, body
            target = address.join(answered.get("location", ""))
            if method != "GET" or target is None or not address.may_redirect_to(target):
                raise FetchError(
                    "other",
                    f"{address.url}: redirects to elsewhere ({answered.get('location', 'nowhere')[:200]!r}), which is "
                    "not followed. Name the final URL.",
                )
            address = target
        raise FetchError("other", f"{address.url}: more than {MOST_REDIRECTS} redirects.")

    async def _exchange(
        self,
        method: str,
        address: WebAddress,
        headers: Mapping[str, str],
        content: bytes | None,
        max_bytes: int,
    ) -> tuple[int, Mapping[str, str], bytes]:
        cache = self._cache if method == "GET" else None
        sent = {
            "Host": address.authority,
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            **(cache.validators(address.url) if cache else {}),
            **headers,
        }
        if content is not None:
            sent["Content-Length"] = str(len(content))
        where = address.url
        try:
            async with self._pool.stream(
                method,
                httpcore.URL(
                    scheme=address.scheme.encode(),
                    host=address.host.encode(),
                    port=address.port,
                    target=address.target.encode(),
                ),
                headers=list(sent.items()),
                content=content,
                extensions={"timeout": {"pool": None, "connect": None, "read": None, "write": None}},
            ) as response:
                answered = _headers(response.headers)
                status = response.status
                if status >= 400:
                    raise _refused(where, status, answered)
                if status in _REDIRECTS:
                    return status, answered, b""
                if status == 304:
                    kept = cache.body(where) if cache else None
                    if kept is None:
                        raise FetchError("malformed", f"{where}: says 304 to a request without a condition.")
                    return status, answered, kept
                body = await _body(where, response.aiter_stream(), answered, max_bytes)
        except httpcore.TimeoutException as error:
            raise FetchError("timeout", f"{where}: no answer in time.", again=True) from error
        except (httpcore.ProtocolError, UnicodeError) as error:
            raise FetchError(
                "malformed", f"{where}: does not speak HTTP as it should: {_short(error)}"
            ) from error
        except httpcore.ConnectError as error:
            raise _not_connected(where, error) from error
        except (httpcore.NetworkError, OSError) as error:
            raise FetchError(
                "reset", f"{where}: the connection broke off: {_short(error)}", again=True
            ) from error
        if cache:
            cache.keep(where, answered, body)
        return status, answered, body


def _address(url: str, policy: FetchPolicy) -> WebAddress:
    try:
        address = parse_web_address(url)
    except ValueError as error:
        raise FetchError("malformed", f"{url[:200]!r}: {error}") from error
    if not policy.any_port and address.port < 1024 and address.port not in (80, 443):
        raise FetchError(
            "permission", f"{address.url}: port {address.port} is no web server's, and is not asked."
        )
    return address


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


async def _body(
    where: str, stream: AsyncIterator[bytes], headers: Mapping[str, str], max_bytes: int
) -> bytes:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip"):
        raise FetchError("malformed", f"{where}: encodes its answer in {encoding[:40]!r} unasked.")
    inflate = _ZLIB.decompressobj(wbits=31) if encoding.endswith("gzip") else None
    parts: list[bytes] = []
    size = 0
    async for part in stream:
        while part:
            # Never more than one byte past the limit comes out of it, whatever it would expand to.
            out = part if inflate is None else _inflated(where, inflate, part, max_bytes - size + 1)
            parts.append(out)
            size += len(out)
            if size > max_bytes:
                raise FetchError(
                    "malformed", f"{where}: answers with more than {max_bytes} bytes, and was cut off."
                )
            part = b"" if inflate is None else inflate.unconsumed_tail
    if inflate is not None and not inflate.eof:
        raise FetchError("malformed", f"{where}: its gzip breaks off.", again=True)
    return b"".join(parts)


def _inflated(where: str, inflate: Any, part: bytes, most: int) -> bytes:
    try:
        return bytes(inflate.decompress(part, most))
    except _ZLIB.error as error:
        raise FetchError("malformed", f"{where}: its gzip is damaged: {error}") from error


def _refused(where: str, status: int, headers: Mapping[str, str]) -> FetchError:
    kinds: dict[int, ErrorKind] = {401: "permission", 403: "permission", 404: "not-found", 410: "not-found"}
    return FetchError(
        kinds.get(status, "other"),
        f"{where}: answers {status}.",
        again=status in (408, 425, 429) or status >= 500,
        retry_after=_retry_after(headers),
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds (RFC 9110, 10.2.3). A date is taken by the server's own clock, so that ours does not matter."""
    text = headers.get("retry-after", "").strip()
    if text.isdigit() and text.isascii() and len(text) < 8:
        return float(text)
    try:
        then, now = (parsedate_to_datetime(each) for each in (text, headers.get("date", "")))
        return min(max(0.0, (then - now).total_seconds()), 1e7)
    except (ValueError, TypeError, OverflowError):
        return None


def _not_connected(where: str, error: httpcore.ConnectError) -> FetchError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return FetchError(
                "tls-alert", f"{where}: its own certificate is not trusted: {cause.verify_message}."
            )
        if isinstance(cause, ssl.SSLError):
            return FetchError("not-tls", f"{where}: TLS failed: {_short(cause)}", again=True)
        if isinstance(cause, ConnectionRefusedError):
            return FetchError("refused", f"{where}: nothing listens there.", again=True)
        cause = cause.__cause__ or cause.__context__
    return FetchError("unreachable", f"{where}: cannot be reached: {_short(error)}", again=True)


def _short(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return "".join(each if each.isprintable() else "." for each in text)[:200]
