"""DNS as a source of targets: names that are asked for, and zones that are transferred (RFC 5936)."""

import base64
import binascii
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import dns.asyncresolver
import dns.exception
import dns.name
import dns.query
import dns.rdatatype
import dns.resolver
import dns.rrset
import dns.tsig

from certwatch.doors.failure import LookFailed
from collectors.tls.sources.config import DNSSource, server_address
from collectors.tls.sources.groups import MOST_TARGETS
from collectors.tls.starttls import PROTOCOLS
from collectors.tls.targets import Target, parse

#: Services of SRV records (RFC 2782, 6186, 6120) that begin in the clear, by their label.
SERVICES = {
    "_smtp": "smtp",
    "_submission": "submission",
    "_imap": "imap",
    "_pop3": "pop3",
    "_sieve": "sieve",
    "_nntp": "nntp",
    "_ldap": "ldap",
    "_ftp": "ftp",
    "_xmpp-client": "xmpp-client",
    "_xmpp-server": "xmpp-server",
    "_postgresql": "postgres",
}
#: Records of one zone that are looked at.
MOST_RECORDS = 5_000_000
_TRANSFER_TIMES = 10
#: Records that lead to hosts by ports of their own.
_LEADING: Mapping[dns.rdatatype.RdataType, Literal["SRV", "MX"]] = {
    dns.rdatatype.SRV: "SRV",
    dns.rdatatype.MX: "MX",
}


async def look_up(source: DNSSource, name: str) -> list[Target]:
    """Of one name. Empty: DNS says that there is nothing. Raises LookFailed."""
    resolver = _resolver(source)
    try:
        answer = await resolver.resolve(name, source.type, lifetime=source.timeout, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except dns.exception.Timeout as error:
        raise LookFailed(
            "dns", f"{name} {source.type}: no answer within {source.timeout:g} s. Check the name server."
        ) from error
    except dns.exception.DNSException as error:
        raise LookFailed("dns", f"{name} {source.type}: {_why(error)}. Check the name server.") from error
    except OSError as error:
        raise LookFailed(
            "dns", f"{name} {source.type}: {error.strerror or error}. Check the name server."
        ) from error
    return list(_targets(source, name, answer.rrset or ()))


def _resolver(source: DNSSource) -> dns.asyncresolver.Resolver:
    try:
        resolver = dns.asyncresolver.Resolver(configure=source.server is None)
    except dns.resolver.NoResolverConfiguration as error:
        raise LookFailed("dns", "/etc/resolv.conf names no name server. Name one as server") from error
    if source.server is not None:
        host, port = server_address(source.server)
        resolver.nameservers = [host if _is_address(host) else _address(host)]
        resolver.port = port
    return resolver


def _targets(source: DNSSource, name: str, records: Iterable[object]) -> Iterator[Target]:
    for record in records:
        if source.type == "SRV":
            host, port = _host(record.target), record.port  # type: ignore[attr-defined]
            # A root as target says: there is no such service (RFC 2782).
            if host and port:
                protocol = source.protocol or SERVICES.get(name.partition(".")[0].lower())
                yield from _made(host, str(port), protocol)
        elif source.type == "MX":
            # A root as exchange says: no mail (RFC 7505).
            if host := _host(record.exchange):  # type: ignore[attr-defined]
                yield from _made(host, "25", source.protocol or "smtp")
        else:
            address = str(record.address)  # type: ignore[attr-defined]
            yield from _at_address(address, name, source)


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True) if name != dns.name.root else ""


def _made(host: str, ports: str, protocol: str | None) -> Iterator[Target]:
    # What DNS says may be no host name: it is passed over.
    try:
        yield parse(f"{host}:{ports}" + (f"/{protocol}" if protocol in PROTOCOLS else ""))
    except ValueError:
        return


def _at_address(address: str, name: str, source: DNSSource) -> Iterator[Target]:
    """An address of a name, asked for by that name."""
    shown = f"[{address}]" if ":" in address else address
    try:
        for span in parse(f"localhost:{source.ports}").probed_ports:
            for port in span:
                more = f"&protocol={source.protocol}" if source.protocol else ""
                yield parse(f"tls://{shown}:{port}/?sni={name.rstrip('.')}{more}")
    except ValueError:
        return


def transfer(source: DNSSource) -> list[Target]:
    """Every host of a zone: names with an address or an alias, those that wildcards stand for left out; where SRV and MX
    records lead, by their own ports. Blocking. Raises LookFailed."""
    assert source.zone is not None  # noqa: S101 - checked by the config
    zone = dns.name.from_text(source.zone)
    failed = LookFailed("dns", f"{source.zone}: names no name server that could be asked. Name one as server")
    for host, port in _servers(source, zone):
        try:
            return _transferred(source, zone, host, port)
        except LookFailed as error:
            failed = error
    raise failed


def _transferred(source: DNSSource, zone: dns.name.Name, host: str, port: int) -> list[Target]:
    where = f"{source.zone}: transfer from {host}:{port}"
    limit = source.timeout * _TRANSFER_TIMES
    hosts: dict[str, None] = {}
    targets: dict[str, Target] = {}
    records = 0
    deadline = time.monotonic() + limit
    try:
        messages = dns.query.xfr(
            host,
            zone,
            timeout=source.timeout,
            port=port,
            keyring=_keyring(source),
            keyname=source.tsig.name if source.tsig else None,
            keyalgorithm=dns.name.from_text(source.tsig.algorithm)
            if source.tsig
            else dns.tsig.default_algorithm,
            relativize=False,
            lifetime=limit,
        )
        for message in messages:
            for rrset in message.answer:
                records += len(rrset)
                _take(source, zone, rrset, hosts, targets)
            if records > MOST_RECORDS or len(hosts) + len(targets) > MOST_TARGETS:
                raise LookFailed(
                    "malformed", f"{where}: the zone is larger than certwatch takes. Name hosts instead"
                )
            if time.monotonic() > deadline:
                raise LookFailed("timeout", f"{where}: not done within {limit:g} s. Raise timeout")
    except dns.exception.Timeout as error:
        raise LookFailed("timeout", f"{where}: no answer within {source.timeout:g} s") from error
    except dns.query.TransferError as error:
        raise LookFailed(
            "permission", f"{where}: refused ({error}). Allow this host, or a TSIG key, to transfer the zone"
        ) from error
    except (dns.exception.DNSException, EOFError, ValueError) as error:
        raise LookFailed("dns", f"{where}: {_why(error)}") from error
    except OSError as error:
        raise LookFailed("unreachable", f"{where}: {error.strerror or error}") from error
    for name in hosts:
        for target in _made(name, source.ports, source.protocol):
            targets.setdefault(target.text, target)
    return list(targets.values())


def _take(
    source: DNSSource,
    zone: dns.name.Name,
    rrset: dns.rrset.RRset,
    hosts: dict[str, None],
    targets: dict[str, Target],
) -> None:
    kind, owner = rrset.rdtype, rrset.name
    if owner.is_wild() or not owner.is_subdomain(zone):
        return
    name = _host(owner)
    if kind in (dns.rdatatype.A, dns.rdatatype.AAAA, dns.rdatatype.CNAME):
        if not owner.labels[0].startswith(b"_"):
            hosts[name] = None
        return
    asked: Literal["SRV", "MX"] | None = _LEADING.get(kind)
    if asked is not None:
        for target in _targets(source.model_copy(update={"type": asked, "protocol": None}), name, rrset):
            targets.setdefault(target.text, target)


def _keyring(source: DNSSource) -> dict[dns.name.Name, dns.tsig.Key] | None:
    if source.tsig is None:
        return None
    try:
        secret = base64.b64decode(source.tsig.secret.get_secret_value(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise LookFailed("other", f"{source.zone}: the TSIG key's secret is not base64") from error
    name = dns.name.from_text(source.tsig.name)
    return {name: dns.tsig.Key(name, secret, dns.name.from_text(source.tsig.algorithm))}


def _servers(source: DNSSource, zone: dns.name.Name) -> Iterator[tuple[str, int]]:
    if source.server is not None:
        host, port = server_address(source.server)
        yield (host if _is_address(host) else _address(host)), port
        return
    try:
        named = dns.resolver.resolve(zone, "NS", lifetime=source.timeout)
    except dns.exception.DNSException as error:
        raise LookFailed("dns", f"{source.zone} NS: {_why(error)}. Name a server to transfer from") from error
    for each in list(named)[:8]:
        try:
            yield _address(_host(each.target)), 53
        except LookFailed:
            continue


def _is_address(text: str) -> bool:
    return ":" in text or text.replace(".", "").isdigit()


def _address(host: str) -> str:
    """Blocking, for a name server that is named by its name."""
    try:
        return str(socket.getaddrinfo(host, 53, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        raise LookFailed("dns", f"{host}: the name server's own name cannot be looked up") from error


def _why(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return "".join(each if each.isprintable() else " " for each in text)[:200]
