"""A web address, read strictly: two programs that read one URL differently are how guards are walked around."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urljoin

MAX_LENGTH = 4096
_DEFAULT_PORTS = {"http": 80, "https": 443}
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][^\s#]*)?(?:#.*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAddress:
    scheme: str
    #: A name in lower case, in A-labels, or an address; IPv6 without brackets.
    host: str
    port: int
    #: Path and query, as they are sent. Begins with a slash.
    target: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"

    def join(self, location: str) -> "WebAddress | None":
        """Where a redirect leads. None: nowhere that could be fetched."""
        try:
            return parse_web_address(urljoin(self.url, location)) if location else None
        except ValueError:
            return None

    def may_redirect_to(self, other: "WebAddress") -> bool:
        """Within the same server, or from http to https of the same name."""
        if self.host != other.host:
            return False
        same = (self.scheme, self.port) == (other.scheme, other.port)
        return same or ((self.scheme, self.port), (other.scheme, other.port)) == (
            ("http", 80),
            ("https", 443),
        )


def parse_web_address(url: str) -> WebAddress:
    """Raises ValueError with what is wrong, without the URL."""
    if len(url) > MAX_LENGTH:
        raise ValueError(f"a URL of more than {MAX_LENGTH} characters")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in _DEFAULT_PORTS:
        raise ValueError("only http:// and https:// URLs are fetched")
    if "@" in re.split(r"[/?#]", rest, maxsplit=1)[0]:
        raise ValueError("a URL with a user name or password is not fetched")
    if not url.isascii():
        url = _ascii(scheme, rest)
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("not a URL that can be fetched")
    scheme = match["scheme"].lower()
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS[scheme]
    if not 0 < port < 65536:
        raise ValueError(f"no such port: {port}")
    target = match["target"] or "/"
    return WebAddress(
        scheme=scheme,
        host=_host(match["host"]),
        port=port,
        target=target if target.startswith("/") else "/" + target,
    )


def _ascii(scheme: str, rest: str) -> str:
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    host, colon, port = authority.partition(":")
    try:
        encoded = host.encode("idna").decode()
    except UnicodeError as error:
        raise ValueError("its host is no name") from error
    tail = "".join(
        each if each.isascii() else "".join(f"%{byte:02X}" for byte in each.encode("utf-8", "replace"))
        for each in rest[len(authority) :]
    )
    return f"{scheme}://{encoded}{colon}{port}{tail}"


def _host(text: str) -> str:
    if text.startswith("["):
        try:
            return str(IPv6Address(text[1:-1]))
        except ValueError as error:
            raise ValueError("its host is no IPv6 address") from error
    host = text.lower().rstrip(".")
    # "127.1", "0x7f000001" and "2130706433" are addresses to some resolvers: an address is written in full or not at
    # all. What ends in a number is meant as an address (WHATWG URL, "ends in a number").
    last = host.rpartition(".")[2]
    if last.isdigit() or last.startswith("0x"):
        try:
            return str(IPv4Address(host))
        except ValueError as error:
            raise ValueError("its host is no IPv4 address in full") from error
    if not host or any(not label or len(label) > 63 for label in host.split(".")) or len(host) > 253:
        raise ValueError("its host is no name")
    return host
