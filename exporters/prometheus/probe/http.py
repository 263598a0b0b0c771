"""A probe by the prober http (and ssl_exporter's https): one request, its redirects, and what is asked of the answer."""

import base64
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

import h11

import certwatch
from certwatch.doors.failure import shown
from certwatch.doors.stream import Ended, Stream
from exporters.prometheus.probe.looking import MAX_BYTES, Looking, ProbeFailed, address_of, begin_tls
from exporters.prometheus.probe.modules import MAX_BODY_BYTES, HeaderMatchKeys, HTTPKeys

MOST_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_READ = 64 << 10
PHASES = ("resolve", "connect", "tls", "processing", "transfer")


@dataclass(slots=True)
class _Reply:
    status: int
    version: str
    headers: list[tuple[str, str]]
    #: None: it has no Content-Length.
    length: int | None
    body: bytes = b""
    #: It went over TLS.
    tls: bool = False

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


@dataclass(slots=True)
class _Course:
    """The requests of one probe, one after the other."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    redirects: int = 0
    cookies: dict[tuple[str, str], str] = field(default_factory=dict)


async def probe_http(looking: Looking) -> None:
    """Raises ProbeFailed, LookFailed: no success. Its time limit is the caller's."""
    answer, keys = looking.answer, _keys(looking)
    for name in ("content_length", "uncompressed_body_length", "redirects", "ssl", "status_code", "version"):
        answer.put(f"probe_http_{name}", 0)
    answer.put("probe_failed_due_to_regex", 0)
    course = _Course()
    try:
        reply = await _followed(looking, keys, course)
    finally:
        answer.put_labelled(
            "probe_http_duration_seconds",
            "".join(
                f'probe_http_duration_seconds{{phase="{phase}"}} {seconds!r}\n'
                for phase, seconds in sorted(course.seconds.items())
            ),
        )
        answer.put("probe_http_redirects", course.redirects)
    _tell(looking, reply)
    _check(looking, keys, reply)


def _keys(looking: Looking) -> HTTPKeys:
    module = looking.ready.module
    # ssl_exporter's https asks for a certificate alone.
    return module.http if module.prober == "http" else HTTPKeys(method="HEAD", follow_redirects=False)


async def _followed(looking: Looking, keys: HTTPKeys, course: _Course) -> _Reply:
    https = looking.ready.module.prober == "https"
    target = looking.target
    if not target.lower().startswith(("http://", "https://")):
        target = ("https://" if https else "http://") + target
    url, method, body = _parsed(target), keys.method.upper(), _body_of(keys)
    first = url
    while True:
        same = (url.hostname, url.port, url.scheme) == (first.hostname, first.port, first.scheme)
        reply = await _request(looking, keys, course, url, method, body, first=url is first, same=same)
        location = reply.header("location")
        if https or reply.status not in _REDIRECTS or location is None:
            return reply
        looking.say(f"redirected to {shown(location.encode('utf-8', 'replace'))}")
        # Counted, if it is not followed either.
        course.redirects += 1
        if not keys.follows or course.redirects > MOST_REDIRECTS:
            # Nobody asks for what it says.
            reply.body = b""
            return reply
        if reply.status in (301, 302, 303) and method not in ("GET", "HEAD"):
            method, body = "GET", b""
        url = _parsed(urljoin(url.geturl(), location))


def _parsed(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError as error:
        raise ProbeFailed(f"{text[:200]!r}: not a URL: {error}") from error
    if url.scheme.lower() not in _PORTS or not url.hostname or len(text) > 8192:
        raise ProbeFailed(f"{text[:200]!r}: not a URL of http or https")
    return url


def _body_of(keys: HTTPKeys) -> bytes:
    if not keys.body_file:
        return keys.body
    try:
        return Path(keys.body_file).read_bytes()
    except OSError as error:
        raise ProbeFailed(f"{keys.body_file}: {error.strerror}") from error


async def _request(
    looking: Looking,
    keys: HTTPKeys,
    course: _Course,
    url: SplitResult,
    method: str,
    body: bytes,
    *,
    first: bool,
    same: bool,
) -> _Reply:
    host = url.hostname or ""
    port = url.port or _PORTS[url.scheme]
    address, lookup = await address_of(looking, host, keys.preferred_ip_protocol, keys.ip_protocol_fallback)
    course.seconds["resolve"] += lookup
    began = time.perf_counter()
    stream = await Stream.open(address, port, f"{host}:{port}", max_bytes=MAX_BYTES)
    try:
        course.seconds["connect"] += time.perf_counter() - began
        given = {name.lower(): value for name, value in keys.headers.items()}
        if looking.hostname and "host" not in given:
            given["host"] = looking.hostname
        tls = url.scheme == "https"
        if tls:
            # The configured name, and the Host header's, are the first server's: a redirect leads to another one.
            named = (
                looking.ready.tls.server_name or given.get("host", "").partition(":")[0]
                if first or same
                else ""
            )
            try:
                await begin_tls(looking, stream, named or host)
            finally:
                course.seconds["tls"] += stream.handshake_seconds
            looking.answer.put("probe_http_ssl", 1)
        else:
            looking.answer.put("probe_http_ssl", 0)
        headers = _headers(keys, given, url, course, body, same=same)
        return await _exchange(stream, course, method, url, headers, body, tls=tls)
    finally:
        stream.close()


def _headers(
    keys: HTTPKeys, given: dict[str, str], url: SplitResult, course: _Course, body: bytes, *, same: bool
) -> list[tuple[str, str]]:
    headers = {
        "host": url.netloc.rpartition("@")[2],
        "user-agent": f"certwatch/{certwatch.__version__}",
        "connection": "close",
    }
    if same:
        headers |= _authorization(keys)
        headers |= given
    if body:
        headers["content-length"] = str(len(body))
    cookies = [f"{name}={value}" for (host, name), value in course.cookies.items() if host == url.hostname]
    if cookies:
        headers["cookie"] = "; ".join(cookies)
    return list(headers.items())


def _authorization(keys: HTTPKeys) -> dict[str, str]:
    def secret(text: str, file: str) -> str:
        if not file:
            return text
        try:
            return Path(file).read_text().strip()
        except OSError as error:
            raise ProbeFailed(f"{file}: {error.strerror}") from error

    if keys.basic_auth is not None:
        basic = keys.basic_auth
        user = secret(basic.username, basic.username_file)
        password = secret(basic.password, basic.password_file)
        return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    if keys.authorization is not None:
        held = secret(keys.authorization.credentials, keys.authorization.credentials_file)
        return {"authorization": f"{keys.authorization.type} {held}"} if held else {}
    token = secret(keys.bearer_token, keys.bearer_token_file)
    return {"authorization": f"Bearer {token}"} if token else {}


async def _exchange(
    stream: Stream,
    course: _Course,
    method: str,
    url: SplitResult,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    *,
    tls: bool,
) -> _Reply:
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_READ)
    began = time.perf_counter()
    reply: _Reply | None = None
    responded = began
    try:
        request = h11.Request(method=method, target=target.encode("utf-8", "replace"), headers=list(headers))
        out = connection.send(request) or b""
        out += (connection.send(h11.Data(data=body)) or b"") if body else b""
        stream.write(out + (connection.send(h11.EndOfMessage()) or b""))
        parts: list[bytes] = []
        size = 0
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                try:
                    connection.receive_data(await stream.some(_READ))
                except Ended:
                    connection.receive_data(b"")
            elif isinstance(event, h11.Response):
                responded = time.perf_counter()
                reply = _reply(event, url, course, tls=tls)
            elif isinstance(event, h11.Data):
                size += len(event.data)
                if size > MAX_BODY_BYTES:
                    raise ProbeFailed(f"its body is longer than {MAX_BODY_BYTES} bytes")
                parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                break
    except h11.ProtocolError as error:
        raise ProbeFailed(f"does not speak HTTP as it should: {error}") from error
    if reply is None:
        raise ProbeFailed("closed the connection without an answer")
    course.seconds["processing"] += responded - began
    course.seconds["transfer"] += time.perf_counter() - responded
    reply.body = b"".join(parts)
    return reply


def _reply(event: h11.Response, url: SplitResult, course: _Course, *, tls: bool) -> _Reply:
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in event.headers]
    for name, value in headers:
        if name == "set-cookie" and len(course.cookies) < 50:
            key, equals, text = value.partition(";")[0].partition("=")
            if equals:
                course.cookies[(url.hostname or "", key.strip())] = text.strip()
    length = next((value for name, value in headers if name == "content-length"), None)
    return _Reply(
        status=event.status_code,
        version=event.http_version.decode("ascii", "replace"),
        headers=headers,
        length=int(length) if length is not None and length.isdigit() else None,
        tls=tls,
    )


def _tell(looking: Looking, reply: _Reply) -> None:
    answer = looking.answer
    answer.put("probe_http_status_code", reply.status)
    answer.put("probe_http_content_length", -1 if reply.length is None else reply.length)
    answer.put("probe_http_uncompressed_body_length", len(reply.body))
    answer.put("probe_http_version", float(reply.version) if reply.version.replace(".", "").isdigit() else 0)
    modified = reply.header("last-modified")
    if modified is not None:
        try:
            at = parsedate_to_datetime(modified)
            answer.put(
                "probe_http_last_modified_timestamp_seconds",
                int(at.replace(tzinfo=at.tzinfo or UTC).timestamp()),
            )
        except (ValueError, OverflowError):
            pass


def _check(looking: Looking, keys: HTTPKeys, reply: _Reply) -> None:
    if looking.ready.module.prober == "https":
        return
    fine = reply.status in keys.valid_status_codes if keys.valid_status_codes else 200 <= reply.status < 300
    if not fine:
        raise ProbeFailed(f"status {reply.status} is not one that is valid")
    if keys.valid_http_versions and f"HTTP/{reply.version}" not in keys.valid_http_versions:
        raise ProbeFailed(f"HTTP/{reply.version} is not a version that is valid")
    body = _plain(looking, keys, reply)
    failed = _by_headers(keys, reply) or _by_body(keys, body)
    if failed:
        looking.answer.put("probe_failed_due_to_regex", 1)
        raise ProbeFailed(failed)
    if keys.fail_if_ssl and reply.tls:
        raise ProbeFailed("the last request went over TLS, which fail_if_ssl forbids")
    if keys.fail_if_not_ssl and not reply.tls:
        raise ProbeFailed("the last request did not go over TLS, which fail_if_not_ssl wants")


def _plain(looking: Looking, keys: HTTPKeys, reply: _Reply) -> bytes:
    if keys.compression in ("", "identity"):
        return reply.body
    try:
        unpacker = zlib.decompressobj(31 if keys.compression == "gzip" else 15)
        body = unpacker.decompress(reply.body, MAX_BODY_BYTES)
    except zlib.error as error:
        raise ProbeFailed(f"its body is not {keys.compression}") from error
    if unpacker.unconsumed_tail:
        raise ProbeFailed(f"its body is longer than {MAX_BODY_BYTES} bytes")
    looking.answer.put("probe_http_uncompressed_body_length", len(body))
    return body


def _by_body(keys: HTTPKeys, body: bytes) -> str:
    """Why it fails. Empty: it does not."""
    for each in keys.fail_if_body_matches_regexp:
        if each.search(body) is not None:
            return f"its body matches {each.pattern!r}"
    for each in keys.fail_if_body_not_matches_regexp:
        if each.search(body) is None:
            return f"its body does not match {each.pattern!r}"
    return ""


def _by_headers(keys: HTTPKeys, reply: _Reply) -> str:
    for each, values in _held(keys.fail_if_header_matches, reply):
        if not values and not each.allow_missing:
            return f"header {each.header} is missing"
        if any(each.regexp.search(value) is not None for value in values):
            return f"header {each.header} matches {each.regexp.pattern!r}"
    for each, values in _held(keys.fail_if_header_not_matches, reply):
        if not values and not each.allow_missing:
            return f"header {each.header} is missing"
        if values and not any(each.regexp.search(value) is not None for value in values):
            return f"header {each.header} does not match {each.regexp.pattern!r}"
    return ""


def _held(wanted: Iterable[HeaderMatchKeys], reply: _Reply) -> Iterable[tuple[HeaderMatchKeys, list[bytes]]]:
    for each in wanted:
        name = each.header.lower()
        yield each, [value.encode("latin-1", "replace") for key, value in reply.headers if key == name]
