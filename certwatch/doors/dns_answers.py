"""What DNS says of hosts and services: names that are asked for, zones that are transferred (AXFR, RFC 5936), with a key
(TSIG, RFC 8945) or without."""

import asyncio
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import dns.asyncresolver
import dns.exception
import dns.name
import dns.query
import dns.rdatatype
import dns.resolver
import dns.tsig

from certwatch.doors.failure import LookFailed

Kind = Literal["A", "AAAA", "CNAME", "SRV", "MX"]
KINDS: tuple[Kind, ...] = get_args(Kind)

PORT = 53
#: Name servers of a zone that are tried.
MOST_SERVERS = 8
#: A whole transfer may take so many times as long as one message of it.
TRANSFER_TIMES = 10

#: Name or address, and port.
Server = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    #: Without a dot at the end; lower case is not promised.
    name: str
    kind: Kind
    #: An address, or the name that it leads to. Empty: the root, which says that there is nothing (RFC 2782, 7505).
    host: str
    #: Of SRV. 0: it has none.
    port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferSecret:
    name: str
    secret: bytes = field(repr=False)
    #: "hmac-sha256" …
    algorithm: str


async def ask(name: str, kind: Kind, *, server: Server | None, seconds: float) -> list[Record]:
    """Of one name. Empty: DNS says that there is nothing. `server`: None: the system's. Raises LookFailed."""
    what = f"{name} {kind}"
    try:
        resolver = await asyncio.to_thread(_resolver, server)
        answer = await resolver.resolve(name, kind, lifetime=seconds, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except dns.exception.Timeout as error:
        raise LookFailed("dns", f"{what}: no answer within {seconds:g} s. Check the name server.") from error
    except dns.exception.DNSException as error:
        raise LookFailed("dns", f"{what}: {_why(error)}. Check the name server.") from error
    except OSError as error:
        raise LookFailed("dns", f"{what}: {error.strerror or error}. Check the name server.") from error
    return [_record(name.rstrip("."), kind, each) for each in answer.rrset or ()]


def _resolver(server: Server | None) -> dns.asyncresolver.Resolver:
    """Blocking: reads the system's configuration, or looks a server's own name up."""
    try:
        resolver = dns.asyncresolver.Resolver(configure=server is None)
    except dns.resolver.NoResolverConfiguration as error:
        raise LookFailed("dns", "/etc/resolv.conf names no name server. Name one as server") from error
    if server is not None:
        resolver.nameservers = [_address(server[0])]
        resolver.port = server[1]
    return resolver


def transfer(
    zone: str, *, server: Server | None, secret: TransferSecret | None, seconds: float, most: int
) -> list[Record]:
    """Records of a zone that lead to hosts, what is in it of delegated zones too, wildcards apart. Blocking. `server`: None:
    those that the zone names, one after the other. `seconds`: for one message. Raises LookFailed."""
    origin = dns.name.from_text(zone)
    failed = LookFailed("dns", f"{zone}: names no name server that could be asked. Name one as server")
    for address, port in _servers(zone, origin, server, seconds):
        try:
            return list(_transferred(zone, origin, address, port, secret, seconds, most))
        except LookFailed as error:
            failed = error
    raise failed


def _transferred(
    zone: str,
    origin: dns.name.Name,
    address: str,
    port: int,
    secret: TransferSecret | None,
    seconds: float,
    most: int,
) -> Iterator[Record]:
    where = f"{zone}: transfer from {address}:{port}"
    limit = seconds * TRANSFER_TIMES
    deadline = time.monotonic() + limit
    count = 0
    try:
        for message in dns.query.xfr(
            address, origin, timeout=seconds, port=port, relativize=False, lifetime=limit, **_key(secret)
        ):
            for rrset in message.answer:
                count += len(rrset)
                yield from _records(rrset, origin)
            if count > most:
                raise LookFailed(
                    "malformed", f"{where}: more than {most} records are too many. Name hosts instead"
                )
            if time.monotonic() > deadline:
                raise LookFailed("timeout", f"{where}: not done within {limit:g} s. Raise timeout")
    except dns.exception.Timeout as error:
        raise LookFailed("timeout", f"{where}: no answer within {seconds:g} s") from error
    except dns.query.TransferError as error:
        raise LookFailed(
            "permission", f"{where}: refused ({error}). Allow this host, or a TSIG key, to transfer the zone"
        ) from error
    except (dns.exception.DNSException, EOFError, ValueError) as error:
        raise LookFailed("dns", f"{where}: {_why(error)}") from error
    except OSError as error:
        raise LookFailed("unreachable", f"{where}: {error.strerror or error}") from error


def _key(secret: TransferSecret | None) -> dict[str, Any]:
    if secret is None:
        return {}
    name, algorithm = dns.name.from_text(secret.name), dns.name.from_text(secret.algorithm)
    return {
        "keyring": {name: dns.tsig.Key(name, secret.secret, algorithm)},
        "keyname": name,
        "keyalgorithm": algorithm,
    }


def _records(rrset: Any, origin: dns.name.Name) -> Iterator[Record]:
    kind = next((each for each in KINDS if rrset.rdtype == dns.rdatatype.from_text(each)), None)
    owner: dns.name.Name = rrset.name
    if kind is None or owner.is_wild() or not owner.is_subdomain(origin):
        return
    for each in rrset:
        yield _record(_text(owner), kind, each)


def _record(name: str, kind: Kind, data: Any) -> Record:
    if kind == "SRV":
        return Record(name=name, kind=kind, host=_text(data.target), port=data.port)
    if kind in ("MX", "CNAME"):
        return Record(name=name, kind=kind, host=_text(data.exchange if kind == "MX" else data.target))
    return Record(name=name, kind=kind, host=str(data.address))


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True) if name != dns.name.root else ""


def _servers(zone: str, origin: dns.name.Name, server: Server | None, seconds: float) -> Iterator[Server]:
    if server is not None:
        yield _address(server[0]), server[1]
        return
    try:
        named = dns.resolver.resolve(origin, "NS", lifetime=seconds)
    except (dns.exception.DNSException, OSError) as error:
        raise LookFailed("dns", f"{zone} NS: {_why(error)}. Name a server to transfer from") from error
    for each in list(named)[:MOST_SERVERS]:
        try:
            yield _address(_text(each.target)), PORT
        except LookFailed:
            continue


def _address(host: str) -> str:
    """Of a name server. Blocking, where it is named by its name."""
    if ":" in host or host.replace(".", "").isdigit():
        return host
    try:
        return str(socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        raise LookFailed("dns", f"{host}: the name server's own name cannot be looked up") from error


def _why(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return "".join(each if each.isprintable() else " " for each in text)[:200]
