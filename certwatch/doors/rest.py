"""Requests to an API that the operator has configured: JSON over HTTPS, bounded, tried again where the server asks for it.

Blocking, for threads; one client may be used by several at once.
"""

import ipaddress
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeVar

import httpx
import msgspec

from certwatch.doors.url import WebAddress, parse_web_address
from certwatch.model.observation import ErrorKind
from certwatch.model.shown import shown

T = TypeVar("T")

MAX_BYTES = 64 << 20
_MAX_ERROR_BYTES = 1 << 16
#: Requests that the server cannot answer just now are repeated so often; the longest wait that it may ask for.
_ATTEMPTS = 4
_LONGEST_WAIT = 30.0
#: Timeouts that all of an answer may take: each piece of it has one.
_LONGEST_ANSWER = 4
_KINDS: Mapping[int, ErrorKind] = {401: "permission", 403: "permission", 404: "not-found", 408: "timeout"}


class RequestFailed(Exception):
    """`message`: where, and what the server or the network said; one line, printable, no secret in it."""

    def __init__(self, kind: ErrorKind, message: str, *, status: int = 0, body: bytes = b"") -> None:
        super().__init__(message)
        self.kind: ErrorKind = kind
        self.message = message
        #: HTTP status. 0: there was no answer.
        self.status = status
        #: Beginning of what the server said.
        self.body = body


def client_tls(
    trust: str | None = None, certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """`trust`: file of the server's CA; None: the system's. `certificate`, `key`: files to authenticate with. Raises
    RequestFailed."""
    try:
        context = ssl.create_default_context(cafile=trust)
        if certificate is not None:
            # A passphrase would be asked for on the terminal.
            context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        named = ", ".join(each for each in (trust, certificate, key) if each)
        reason = getattr(error, "strerror", None) or str(error)
        raise RequestFailed(
            "other", f"{named}: cannot be used for TLS: {reason}. Give PEM files without a passphrase"
        ) from error
    return context


class Client:
    """`with` it."""

    def __init__(
        self,
        url: str,
        *,
        headers: Callable[[], Mapping[str, str]] = dict,
        tls: ssl.SSLContext | None = None,
        timeout: float = 30.0,
        connections: int = 8,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`url`: what all paths are below. `headers`: asked for with each request, credentials among them. Raises
        RequestFailed for a URL over which credentials would go in the clear."""
        try:
            address = parse_web_address(url)
        except ValueError as error:
            raise RequestFailed("other", f"url: {error}. Write it as https://host:port") from error
        if address.scheme == "http" and not _is_loopback(address):
            raise RequestFailed(
                "other",
                f"{address.authority}: http:// shows credentials to everybody on the way. Use https://",
            )
        self.where = address.authority
        self._base = address.url.rstrip("/")
        self._headers = headers
        self._sleep = sleep
        self._timeout = timeout
        self._http = httpx.Client(
            # Neither proxies nor credentials out of the environment.
            trust_env=False,
            verify=tls if tls is not None else ssl.create_default_context(),
            timeout=httpx.Timeout(timeout),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            headers={"user-agent": "certwatch", "accept": "application/json"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, params: Mapping[str, str] | None = None, *, max_bytes: int = MAX_BYTES) -> bytes:
        """Raises RequestFailed for all but 2xx."""
        return self._asked("GET", path, params, None, max_bytes)

    def post(
        self,
        path: str,
        body: object,
        params: Mapping[str, str] | None = None,
        *,
        max_bytes: int = MAX_BYTES,
    ) -> bytes:
        """`body` is sent as JSON. Raises RequestFailed for all but 2xx."""
        return self._asked("POST", path, params, json.dumps(body).encode(), max_bytes)

    def patch(self, path: str, body: object, *, max_bytes: int = MAX_BYTES) -> bytes:
        """`body` is sent as a JSON merge patch (RFC 7396). Raises RequestFailed for all but 2xx."""
        data = json.dumps(body).encode()
        return self._asked("PATCH", path, None, data, max_bytes, content="application/merge-patch+json")

    def _asked(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: bytes | None,
        max_bytes: int,
        *,
        content: str = "application/json",
    ) -> bytes:
        for attempt in range(1, _ATTEMPTS + 1):
            with self._translated():
                request = self._http.build_request(
                    method,
                    self._base + path,
                    params=dict(params or {}),
                    content=body,
                    headers={
                        **self._headers(),
                        **({"content-type": content} if body is not None else {}),
                    },
                )
                response = self._http.send(request, stream=True)
                try:
                    if response.is_success:
                        return self._body(response, max_bytes)
                    said = self._body(response, _MAX_ERROR_BYTES, cut=True)
                finally:
                    response.close()
            wait = _wait(response, attempt)
            if wait is None:
                raise self._refused(response, path, said)
            self._sleep(wait)
        raise AssertionError

    def _body(self, response: httpx.Response, most: int, *, cut: bool = False) -> bytes:
        parts: list[bytes] = []
        size = 0
        until = time.monotonic() + _LONGEST_ANSWER * self._timeout
        for part in response.iter_bytes():
            size += len(part)
            if time.monotonic() > until:
                raise RequestFailed("timeout", f"{self.where}: an answer that does not end")
            if size > most:
                if cut:
                    break
                raise RequestFailed("malformed", f"{self.where}: an answer of more than {most} bytes")
            parts.append(part)
        return b"".join(parts)

    def _refused(self, response: httpx.Response, path: str, said: bytes) -> RequestFailed:
        code = response.status_code
        kind = _KINDS.get(code, "other")
        text = said.decode("utf-8", "replace").strip()
        if response.is_redirect:
            # Another host would get the credentials.
            text = f"it leads to {response.headers.get('location', 'nowhere')[:200]}, which is not followed"
        return RequestFailed(
            kind, f"{self.where}: {shown(path)}: {code} {shown(text[:300])}".rstrip(), status=code, body=said
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise RequestFailed("timeout", f"{self.where}: no answer in time") from error
        except httpx.ConnectError as error:
            raise RequestFailed(_kind_of(error), f"{self.where}: {_reason(error)}") from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise RequestFailed("reset", f"{self.where}: {_reason(error)}") from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise RequestFailed("other", f"{self.where}: {_reason(error)}") from error


def _is_loopback(address: WebAddress) -> bool:
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return address.host == "localhost"


def _wait(response: httpx.Response, attempt: int) -> float | None:
    """Seconds until the next try. None: it is no use."""
    if response.status_code not in (429, 502, 503, 504) or attempt == _ATTEMPTS:
        return None
    said = response.headers.get("retry-after", "")
    asked = float(said) if said.isascii() and said.isdigit() and len(said) < 6 else 0.0
    return min(_LONGEST_WAIT, max(asked, 0.5 * float(2**attempt)))


def _kind_of(error: httpx.ConnectError) -> ErrorKind:
    text = str(error).lower()
    if "name or service" in text or "getaddrinfo" in text or "nodename" in text or "resolution" in text:
        return "dns"
    if "refused" in text:
        return "refused"
    return "tls-alert" if "ssl" in text or "certificate" in text else "unreachable"


def _reason(error: Exception) -> str:
    return shown(str(error) or type(error).__name__)[:300]


def decoded_as(answer: bytes, kind: type[T], where: str) -> T:
    """From JSON. Raises RequestFailed."""
    try:
        return msgspec.json.decode(answer, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RequestFailed(
            "malformed", f"{where}: the answer is not one of this API: {shown(str(error)[:200])}. See the URL"
        ) from error
