"""Requests to one API server: LIST in pages, WATCH as lines, GET, and the few writes there are. Bytes come in bounded pieces; JSON of an object is not
looked into here but for the envelope."""

import asyncio
import random
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx
import msgspec

from certwatch.doors.kubernetes.access import Access, AccessError
from certwatch.doors.kubernetes.failure import RequestFailed, line_of, no_answer, refused
from certwatch.doors.kubernetes.nesting import shallow
from certwatch.telemetry.metrics import KUBERNETES_REQUESTS

#: Larger pages are asked for again with fewer objects; an object has at most 3 MiB in etcd.
MAX_PAGE_BYTES = 48 << 20
#: What a page should have: so much is in memory at once.
PAGE_BYTES = 4 << 20
#: An event is an object and a little.
MAX_EVENT_BYTES = 16 << 20
#: Of one list, and pages of it in a row that bring none: a list without end is none.
MAX_OBJECTS = 1_000_000
MAX_EMPTY_PAGES = 100
_MAX_OBJECT_BYTES = 4 << 20
_MAX_ERROR_BYTES = 1 << 16
#: "Too many requests" of one request that are waited for, and the longest wait that a server may ask for.
_PATIENCE = 6
_LONGEST_WAIT = 60.0
#: Servers end watches after this, so that a dead one is not waited on for ever.
WATCH_SECONDS = 290
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]


class _ListMeta(msgspec.Struct):
    resource_version: str = msgspec.field(default="", name="resourceVersion")
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    kind: str
    metadata: _ListMeta
    #: None: what Go writes for an empty list.
    items: list[msgspec.Raw] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    #: Each object's JSON: views of the page, which lives as long as they do.
    items: list[msgspec.Raw]
    resource_version: str
    #: Empty: it was the last.
    token: str
    size: int


_decode_list = msgspec.json.Decoder(_List).decode


class Client:
    """`async with` it. One to a cluster. `load` gives the access anew: credentials that are refused are read again, so
    that a rotated token or certificate is taken."""

    def __init__(
        self, cluster: str, load: Callable[[], Access], *, timeout: float = 30.0, connections: int = 100
    ) -> None:
        self.cluster = cluster
        self._load = load
        self._timeout = timeout
        #: Of a whole answer: one that comes byte by byte is none.
        self._answer_seconds = 10 * timeout
        self._connections = connections
        self._access: Access | None = None
        self._http: httpx.AsyncClient | None = None
        # Guards opening: several tasks ask at once.
        self._opening = asyncio.Lock()

    @property
    def server(self) -> str | None:
        """The API server's URL. None: nothing was asked of it yet."""
        return self._access.server if self._access is not None else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def _open(self, refused: httpx.AsyncClient | None = None) -> tuple[httpx.AsyncClient, Access]:
        """With the credentials of now, if `refused` is the one that has others."""
        async with self._opening:
            if self._http is None or self._access is None or self._http is refused:
                try:
                    access = await asyncio.to_thread(self._load)
                except AccessError as error:
                    raise RequestFailed("permission", str(error)) from error
                try:
                    made = _make(access, self._timeout, self._connections)
                except (ValueError, httpx.InvalidURL) as error:
                    raise RequestFailed("other", f"its proxy cannot be used: {line_of(error)}") from error
                former, self._access, self._http = self._http, access, made
                if former is not None:
                    await former.aclose()
            return self._http, self._access

    @asynccontextmanager
    async def _asked(
        self,
        verb: str,
        path: str,
        params: Mapping[str, str],
        accept: str,
        read_seconds: float | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> AsyncIterator[httpx.Response]:
        """An answer that is fine. Waits where the server asks for it, takes new credentials once. Raises
        RequestFailed, for what happens in the block as well."""
        refused: httpx.AsyncClient | None = None
        for attempt in range(_PATIENCE):
            http, access = await self._open(refused)
            headers = {"accept": accept, "accept-encoding": "identity"}
            if body is not None:
                headers["content-type"] = content_type
            if access.authorization:
                headers["authorization"] = access.authorization
            timeout = httpx.Timeout(self._timeout, read=read_seconds or self._timeout)
            extensions = {"sni_hostname": access.server_name} if access.server_name else {}
            try:
                request = http.build_request(
                    method,
                    access.server + path,
                    params=params,
                    headers=headers,
                    content=body,
                    timeout=timeout,
                    extensions=extensions,
                )
            except (ValueError, httpx.InvalidURL) as error:
                # Not the error's words: they may hold the token.
                why = (
                    "its address is no URL"
                    if isinstance(error, httpx.InvalidURL)
                    else "its credentials cannot be sent"
                )
                raise self._told(verb, RequestFailed("other", why)) from error
            try:
                response = await http.send(request, stream=True)
            except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:
                raise self._told(verb, no_answer(error)) from error
            try:
                if response.status_code in (200, 201):
                    yield response
                    KUBERNETES_REQUESTS.labels(self.cluster, verb, "ok").inc()
                    return
                async with asyncio.timeout(self._answer_seconds):
                    failed = self._told(verb, await _refusal(response))
            except (httpx.HTTPError, httpx.StreamError, TimeoutError) as error:
                raise self._told(verb, no_answer(error)) from error
            finally:
                await response.aclose()
            if failed.status == 401 and refused is None:
                refused = http
                continue
            if failed.status not in (429, 503) or failed.retry_after is None or attempt == _PATIENCE - 1:
                raise failed
            wait = min(failed.retry_after, _LONGEST_WAIT)
            # All that were told to come back then would come at once.
            await asyncio.sleep(wait + random.uniform(0, min(1.0, wait)))  # noqa: S311 - jitter
        raise RequestFailed("other", "too many requests", status=429)

    def _told(self, verb: str, failed: RequestFailed) -> RequestFailed:
        KUBERNETES_REQUESTS.labels(
            self.cluster, verb, str(failed.status) if failed.status else failed.kind
        ).inc()
        return failed

    async def _whole(self, verb: str, response: httpx.Response) -> bytes:
        """An answer of one object. Raises RequestFailed."""
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await _body(response, _MAX_OBJECT_BYTES)
        except _TooLarge as error:
            message = f"the answer is larger than {_MAX_OBJECT_BYTES} bytes"
            raise self._told(verb, RequestFailed("malformed", message)) from error

    async def get(self, path: str) -> bytes:
        """One object. Raises RequestFailed."""
        async with self._asked("get", path, {}, "application/json") as response:
            return await self._whole("get", response)

    async def create(self, path: str, body: bytes) -> bytes:
        """POST of one object's JSON. Raises RequestFailed; status 409: it is there already."""
        async with self._asked("create", path, {}, "application/json", method="POST", body=body) as response:
            return await self._whole("create", response)

    async def merge(self, path: str, body: bytes) -> bytes:
        """PATCH of one object by a JSON merge patch (RFC 7396). Raises RequestFailed."""
        async with self._asked(
            "patch",
            path,
            {},
            "application/json",
            method="PATCH",
            body=body,
            content_type="application/merge-patch+json",
        ) as response:
            return await self._whole("patch", response)

    async def apply(self, path: str, body: bytes, *, manager: str, force: bool) -> bytes:
        """PATCH by server-side apply: `manager` owns what `body` says, and nothing else is touched. Raises RequestFailed; status
        409: somebody else owns a field (without `force`), or the resourceVersion in it is not the present one."""
        async with self._asked(
            "apply",
            path,
            {"fieldManager": manager, "force": "true" if force else "false"},
            "application/json",
            method="PATCH",
            body=body,
            content_type="application/apply-patch+yaml",
        ) as response:
            return await self._whole("apply", response)

    async def delete(self, path: str) -> None:
        """Raises RequestFailed; status 404: it is not there."""
        async with self._asked("delete", path, {}, "application/json", method="DELETE") as response:
            await self._whole("delete", response)

    async def pages(
        self, path: str, params: Mapping[str, str], *, limit: int, metadata_only: bool = False
    ) -> AsyncIterator[Page]:
        """Every object, `limit` to a page at most, fewer where objects are large. All pages are of one instant, whose
        resource version they carry. Raises RequestFailed; with "Expired" the list took too long: begin again."""
        accept = f"{_METADATA_LIST},application/json" if metadata_only else "application/json"
        token, size, count, empty = "", limit, 0, 0
        while True:
            asked = {**params, "limit": str(size), **({"continue": token} if token else {})}
            try:
                async with self._asked("list", path, asked, accept) as response:
                    async with asyncio.timeout(self._answer_seconds):
                        data = await _body(response, MAX_PAGE_BYTES)
            except _TooLarge as error:
                if size == 1:
                    raise self._told(
                        "list", RequestFailed("malformed", f"an object is larger than {MAX_PAGE_BYTES} bytes")
                    ) from error
                size = max(1, size // 4)
                continue
            try:
                page = _page(data)
                count, empty = count + len(page.items), 0 if page.items else empty + 1
                if page.token and (page.token == token or count > MAX_OBJECTS or empty > MAX_EMPTY_PAGES):
                    raise RequestFailed("malformed", f"the list does not end, after {count} objects")
            except RequestFailed as failed:
                raise self._told("list", failed) from failed.__cause__
            token = page.token
            fits = PAGE_BYTES * max(1, len(page.items)) // max(1, page.size)
            del data
            yield page
            del page
            if not token:
                return
            size = max(1, min(limit, 2 * size, fits))

    async def watch(
        self, path: str, params: Mapping[str, str], resource_version: str, *, metadata_only: bool = False
    ) -> AsyncGenerator[list[bytes], None]:
        """Events since `resource_version`, as lines of JSON, those that came together at once; first an empty batch,
        when the server has accepted it. Ends when the server ends it. Raises RequestFailed."""
        accept = f"{_METADATA},application/json" if metadata_only else "application/json"
        asked = {
            **params,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(WATCH_SECONDS - random.randrange(60)),  # noqa: S311 - so that not all end at once
        }
        async with self._asked("watch", path, asked, accept, WATCH_SECONDS + 10.0) as response:
            yield []
            rest = bytearray()
            async for part in response.aiter_raw():
                # Only in what is new: an event may come byte by byte.
                end = part.rfind(b"\n")
                if end >= 0:
                    lines = [line for line in (bytes(rest) + part[:end]).split(b"\n") if line]
                    rest = bytearray(part[end + 1 :])
                    yield lines
                    continue
                rest += part
                if len(rest) > MAX_EVENT_BYTES:
                    message = f"an event is larger than {MAX_EVENT_BYTES} bytes"
                    raise self._told("watch", RequestFailed("malformed", message))


class _TooLarge(Exception):
    pass


def _make(access: Access, timeout: float, connections: int) -> httpx.AsyncClient:
    # Neither proxies nor credentials out of the environment.
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=4, keepalive_expiry=30)
    tls = access.tls if access.tls is not None else False
    transport = httpx.AsyncHTTPTransport(
        verify=tls, limits=limits, proxy=access.proxy, socket_options=_KEEPALIVE, trust_env=False
    )
    return httpx.AsyncClient(
        transport=transport, timeout=timeout, trust_env=False, headers={"user-agent": "certwatch"}
    )


async def _body(response: httpx.Response, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > most:
            raise _TooLarge
        parts.append(part)
    return b"".join(parts)


def _page(data: bytes) -> Page:
    """Raises RequestFailed: it is no list. A gateway's own word under status 200 must not be taken for an empty one."""
    try:
        try:
            found = _decode_list(data)
        except RecursionError:
            found = _decode_list(shallow(data))
    except msgspec.DecodeError as error:
        raise RequestFailed("malformed", "the answer is no list of objects") from error
    if not found.kind.endswith("List") or not found.metadata.resource_version:
        raise RequestFailed("malformed", "the answer is no list of objects")
    return Page(
        items=found.items or [],
        resource_version=found.metadata.resource_version,
        token=found.metadata.continue_,
        size=len(data),
    )


async def _refusal(response: httpx.Response) -> RequestFailed:
    try:
        data = await _body(response, _MAX_ERROR_BYTES)
    except _TooLarge:
        data = b""
    return refused(response.status_code, response.headers.get("retry-after", ""), data)
