"""What targets and exclusions say, as values: text → Target. Pure; every error names the text and what is wrong."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import parse_qs, unquote, urlsplit

from collectors.tls.starttls import PROTOCOLS

Network = IPv4Network | IPv6Network
#: Port ranges, sorted, disjoint, ends exclusive.
Ports = tuple[range, ...]

DEFAULT_PORT = 443
#: Most addresses of one CIDR: an IPv4 /8, an IPv6 /104.
MOST_ADDRESSES = 1 << 24
#: Of a target: a name has 253 at most; the rest is for ports.
MAX_CHARACTERS = 2048

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_SHAPE = re.compile(
    r"""(?: \[ (?P<bracketed> [^\[\]]* ) \] | (?P<plain> [^/:\[\]]* ) )
        (?: / (?P<prefix> [0-9]+ ) )?
        (?: : (?P<ports> [^/\[\]]* ) )?
        (?: / (?P<protocol> [A-Za-z] [A-Za-z0-9-]* ) )?""",
    re.VERBOSE,
)


#: The target that stands for this host's own listening ports.
LISTENING = "listening"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    #: As it was written: the scope of its observations.
    text: str
    #: A name to resolve: lower case, A-labels, without a dot at the end. None: `network` says it.
    name: str | None
    #: One address or many. None: `name` says it.
    network: Network | None
    #: Zone of a link-local address ("eth0"). None: none.
    zone: str | None = None
    #: None: the text names no port.
    ports: Ports | None
    #: A key of `starttls.PROTOCOLS`. None: TLS from the first byte.
    protocol: str | None = None
    #: SNI that the target itself asks for. None: its name, or the collector's override.
    server_name: str | None = None
    #: True: what listens on this host, found anew by each scan.
    listening: bool = False
    #: True: another collector's places say that it is served there; whether it can be reached from here nobody said.
    discovered: bool = False
    #: What the list that names it says of it; they become the location's.
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def is_wide(self) -> bool:
        """A network, and not a single address."""
        return self.network is not None and self.network.prefixlen < self.network.max_prefixlen

    @property
    def is_guess(self) -> bool:
        """Nobody said that each of its endpoints exists."""
        return self.listening or self.discovered or self.is_wide

    @property
    def probed_ports(self) -> Ports:
        if self.ports is not None:
            return self.ports
        port = PROTOCOLS[self.protocol].default_port if self.protocol else DEFAULT_PORT
        return (range(port, port + 1),)


def parse(text: str) -> Target:
    """A target or an exclusion: `listening`, `host`, `host:port`, `host:25,587/smtp`, `10.20.0.0/24:443,9000-9010`,
    `[2001:db8::1]:443`, `2001:db8::/120`, `tls://host:port/?sni=name&protocol=smtp`. Raises ValueError."""
    wanted = text.strip()
    if not wanted:
        raise ValueError('"": an empty target. Write host, host:port, a CIDR or a tls:// URI')
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"{text[:60]!r}…: {len(text)} characters are too many for a target (at most {MAX_CHARACTERS})"
        )
    if wanted.lower() == LISTENING:
        return Target(text=text, name=None, network=None, ports=None, listening=True)
    if "://" in wanted:
        return _parse_uri(text, wanted)
    bare = _bare_ipv6(wanted)
    if bare is not None:
        return Target(text=text, name=None, network=bare[0], zone=bare[1], ports=None)
    match = _SHAPE.fullmatch(wanted)
    if match is None:
        raise ValueError(f"{text!r}: not a target. Write host:port, host:port/smtp, 10.0.0.0/24:443,8443 or"
                         " [2001:db8::1]:443")  # fmt: skip
    protocol = match["protocol"].lower() if match["protocol"] else None
    if protocol is not None and protocol not in PROTOCOLS:
        raise ValueError(f"{text!r}: unknown protocol {protocol!r} (known: {', '.join(PROTOCOLS)})")
    host = match["bracketed"] if match["bracketed"] is not None else match["plain"]
    if match["bracketed"] is not None and "/" in host and match["prefix"] is None:
        host, _, prefix = host.partition("/")
    else:
        prefix = match["prefix"] or ""
    name, network, zone = _host(text, host, prefix, bracketed=match["bracketed"] is not None)
    ports = _ports(text, match["ports"]) if match["ports"] is not None else None
    return Target(text=text, name=name, network=network, zone=zone, ports=ports, protocol=protocol)


def parse_exclusion(text: str) -> Target:
    """A host, an address or a CIDR, with ports or without (then all of them). Raises ValueError."""
    target = parse(text)
    if target.protocol is not None or target.server_name is not None:
        raise ValueError(f"{text!r}: an exclusion names hosts, addresses, CIDRs and ports only")
    return target


def _bare_ipv6(text: str) -> tuple[Network, str | None] | None:
    """An IPv6 address or CIDR without brackets, and so without port. None: it is something else."""
    address, _, prefix = text.partition("/")
    plain, _, zone = address.partition("%")
    try:
        if plain.count(":") < 2 or ip_address(plain).version != 6 or (prefix and not prefix.isdigit()):
            return None
    except ValueError:
        return None
    return _network(text, plain, prefix), zone or None


def _parse_uri(text: str, wanted: str) -> Target:
    parts = urlsplit(wanted)
    if parts.scheme != "tls":
        raise ValueError(f"{text!r}: scheme {parts.scheme!r} is not tls. Write tls://host:port, or host:port")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from error
    if not host or parts.username is not None or parts.path not in ("", "/") or parts.fragment:
        raise ValueError(f"{text!r}: not of the form tls://host:port/?sni=name")
    query = parse_qs(parts.query, keep_blank_values=True)
    strange = sorted(set(query) - {"sni", "protocol"})
    if strange:
        raise ValueError(f"{text!r}: unknown key {strange[0]!r} (known: sni, protocol)")
    protocol = query.get("protocol", [None])[0]
    if protocol is not None and protocol not in PROTOCOLS:
        raise ValueError(f"{text!r}: unknown protocol {protocol!r} (known: {', '.join(PROTOCOLS)})")
    server_name = query.get("sni", [None])[0]
    name, network, zone = _host(text, unquote(host), "", bracketed=":" in host)
    return Target(
        text=text,
        name=name,
        network=network,
        zone=zone,
        ports=_ports(text, str(port)) if port is not None else None,
        protocol=protocol,
        server_name=host_name(server_name) if server_name is not None else None,
    )


def _host(
    text: str, host: str, prefix: str, *, bracketed: bool
) -> tuple[str | None, Network | None, str | None]:
    plain, _, zone = host.partition("%")
    try:
        address = ip_address(plain)
    except ValueError:
        if bracketed:
            raise ValueError(f"{text!r}: {host!r} is not an IPv6 address") from None
        if prefix:
            raise ValueError(f"{text!r}: {host!r} before /{prefix} is not an address") from None
        try:
            return host_name(host), None, None
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from error
    if bracketed != (address.version == 6):
        raise ValueError(
            f"{text!r}: brackets are for IPv6 addresses, and IPv6 addresses with ports need them"
        )
    return None, _network(text, plain, prefix), zone or None


def _network(text: str, address: str, prefix: str) -> Network:
    try:
        network = ip_network(f"{address}/{prefix}" if prefix else address)
    except ValueError:
        try:
            loose = ip_network(f"{address}/{prefix}", strict=False)
        except ValueError as error:
            raise ValueError(f"{text!r}: /{prefix} is not a prefix length") from error
        raise ValueError(
            f"{text!r}: {address} is an address inside {loose}. Write {loose} for all of it, or {address} alone"
        ) from None
    if network.num_addresses > MOST_ADDRESSES:
        most = network.max_prefixlen - MOST_ADDRESSES.bit_length() + 1
        raise ValueError(
            f"{text!r}: {network.num_addresses} addresses are too many for a scan. Use a /{most} or a longer prefix"
        )
    return network


def host_name(text: str) -> str:
    """A DNS name in lower case and A-labels, without a dot at the end. Raises ValueError."""
    name = text.removesuffix(".").lower()
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise ValueError(f"{text!r} is not an internationalised name: {error}") from error
    if not name:
        raise ValueError("the host is missing")
    labels = name.split(".")
    bad = next((label for label in labels if not _LABEL.fullmatch(label)), None)
    if bad is not None:
        raise ValueError(
            f"{text!r} is not a host name: {bad!r} is not a label of 1 to 63 letters, digits and hyphens"
        )
    if len(name) > 253:
        raise ValueError(f"{text!r} is longer than the 253 characters of a host name")
    if labels[-1].isdigit():
        raise ValueError(f"{text!r} is neither an IPv4 address nor a name (no name ends in digits)")
    return name


def _ports(text: str, written: str) -> Ports:
    spans: list[tuple[int, int]] = []
    for part in written.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"{text!r}: {part.strip()!r} is not a port. Write 443, 443,8443 or 9000-9010")
        low, high = int(first), int(last or first)
        if not (0 < low <= 65535 and 0 < high <= 65535):
            raise ValueError(f"{text!r}: ports are 1 to 65535")
        if high < low:
            raise ValueError(f"{text!r}: the range {low}-{high} is backwards")
        spans.append((low, high))
    merged: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(range(low, high + 1) for low, high in merged)
