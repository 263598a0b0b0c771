"""Through a proxy: HTTP CONNECT (RFC 9110, 9.3.6) and SOCKS5 (RFC 1928, RFC 1929), as dialogues without I/O."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal
from urllib.parse import unquote, urlsplit

from certwatch.doors.dialogue import Dialogue, Send
from certwatch.doors.failure import LookFailed, shown
from certwatch.model.observation import ErrorKind

_DEFAULT_PORTS = {"http": 8080, "socks5": 1080}
#: REP of a SOCKS5 reply (RFC 1928, 6).
_REPLIES: dict[int, tuple[ErrorKind, str]] = {
    1: ("other", "general failure"),
    2: ("permission", "not allowed by its rules"),
    3: ("unreachable", "network unreachable"),
    4: ("unreachable", "host unreachable"),
    5: ("refused", "connection refused"),
    6: ("timeout", "TTL expired"),
    7: ("other", "command not supported"),
    8: ("other", "address type not supported"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    kind: Literal["http", "socks5"]
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)

    @property
    def where(self) -> str:
        return f"{self.host}:{self.port}"


def parse_proxy(url: str) -> Proxy:
    """`http://user:password@host:port` or `socks5://…`. Raises ValueError, which names no password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("not a URL of a proxy. Write http://host:port or socks5://host:port") from None
    if parts.scheme not in ("http", "socks5") or not host or parts.path not in ("", "/") or parts.query:
        raise ValueError("not a URL of a proxy. Write http://host:port or socks5://host:port")
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    if max(len(username.encode()), len(password.encode())) > 255:
        raise ValueError("user and password of a proxy have at most 255 bytes (RFC 1929)")
    return Proxy(
        kind="http" if parts.scheme == "http" else "socks5",
        host=host,
        port=port or _DEFAULT_PORTS[parts.scheme],
        username=username or None,
        password=password,
    )


def through(
    proxy: Proxy, host: str, port: int, opening: Callable[[str], Dialogue] | None
) -> Callable[[str], Dialogue]:
    """The way through the proxy to `host` (an address, or a name that the proxy resolves), then what is said there."""

    def dialogue(where: str) -> Dialogue:
        yield from (_connect if proxy.kind == "http" else _socks5)(where, proxy, host, port)
        return (yield from opening(where)) if opening is not None else None

    return dialogue


def _headers(buffer: bytes) -> int | None:
    end = buffer.find(b"\r\n\r\n")
    if end >= 0:
        return end + 4
    # A stranger's first bytes are enough to know it.
    return len(buffer) if buffer[:5] != b"HTTP/"[: len(buffer)] else None


def _connect(where: str, proxy: Proxy, host: str, port: int) -> Dialogue:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if proxy.username is not None:
        credentials = b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
        request += f"Proxy-Authorization: Basic {credentials}\r\n"
    reply = yield Send(request.encode() + b"\r\n", _headers)
    status = reply[9:12]
    if not reply.startswith(b"HTTP/1.") or not status.isdigit():
        raise _strange(where, proxy, reply, "HTTP proxy")
    if not status.startswith(b"2"):
        kind: ErrorKind = (
            "permission"
            if status in (b"401", b"403", b"407")
            else "timeout"
            if status == b"504"
            else "unreachable"
        )
        said = shown(reply.partition(b"\r\n")[0])
        raise LookFailed(
            kind, f"{where}: the proxy {proxy.where} answered {said}. See its log and its rules."
        )
    return None


def _socks_reply(buffer: bytes) -> int | None:
    """VER, REP, RSV, ATYP, address, port (RFC 1928, 6)."""
    if buffer[:1] not in (b"", b"\x05"):
        return len(buffer)
    if len(buffer) < 5:
        return None
    sizes = {1: 4, 3: 1 + buffer[4], 4: 16}
    if buffer[3] not in sizes:
        return len(buffer)
    length = 4 + sizes[buffer[3]] + 2
    return length if len(buffer) >= length else None


def _two_bytes(buffer: bytes) -> int | None:
    return 2 if len(buffer) >= 2 else None


def _socks5(where: str, proxy: Proxy, host: str, port: int) -> Dialogue:
    method = yield Send(b"\x05\x01\x00" if proxy.username is None else b"\x05\x02\x00\x02", _two_bytes)
    if method == b"\x05\x02" and proxy.username is not None:
        user, password = proxy.username.encode(), proxy.password.encode()
        login = b"\x01" + bytes([len(user)]) + user + bytes([len(password)]) + password
        verdict = yield Send(login, _two_bytes)
        if verdict[1:] != b"\x00":
            raise LookFailed("permission", f"{where}: the proxy {proxy.where} refuses user and password.")
    elif method == b"\x05\xff" or method == b"\x05\x02":
        raise LookFailed(
            "permission", f"{where}: the proxy {proxy.where} demands another login. Give it a user."
        )
    elif method != b"\x05\x00":
        raise _strange(where, proxy, method, "SOCKS5 proxy")
    try:
        packed = ip_address(host.partition("%")[0]).packed
        address = (b"\x01" if len(packed) == 4 else b"\x04") + packed
    except ValueError:
        name = host.encode("ascii")
        address = b"\x03" + bytes([len(name)]) + name
    reply = yield Send(b"\x05\x01\x00" + address + port.to_bytes(2, "big"), _socks_reply)
    if len(reply) < 2 or reply[0] != 5:
        raise _strange(where, proxy, reply, "SOCKS5 proxy")
    if reply[1] != 0:
        kind, why = _REPLIES.get(reply[1], ("other", f"reply {reply[1]}"))
        raise LookFailed(kind, f"{where}: the proxy {proxy.where} could not connect: {why}.")
    if len(reply) < 10:
        raise _strange(where, proxy, reply, "SOCKS5 proxy")
    return None


def _strange(where: str, proxy: Proxy, reply: bytes, what: str) -> LookFailed:
    return LookFailed(
        "malformed",
        f"{where}: {proxy.where} answered {shown(reply, 40)}, and is no {what}. Check the proxy's URL.",
    )
