"""DNS records other than addresses: CAA (RFC 8659), and the names of a zone (AXFR, RFC 5936). Bounded and timed."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
import dns.xfr
import dns.zone

from certwatch.doors.failure import LookFailed

PORT = 53
#: Of one name, and of a name's parents that are asked.
MOST_RECORDS = 100
MOST_PARENTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class NameServer:
    address: str
    port: int = PORT

    @classmethod
    def parse(cls, text: str) -> "NameServer":
        """ "192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353". Raises ValueError."""
        host, port = text.strip(), str(PORT)
        if host.startswith("["):
            host, _, rest = host[1:].partition("]")
            port = rest.removeprefix(":") or port
        elif host.count(":") == 1:
            host, _, port = host.partition(":")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r}: not a port")
        return cls(address=str(ip_address(host)), port=int(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class CAARecord:
    #: "issue", "issuewild", "iodef" …, lower case.
    tag: str
    value: str
    #: Whoever does not understand the tag must not issue (RFC 8659, 4.1).
    critical: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RelevantCAA:
    """What holds for a name (RFC 8659, 3)."""

    #: Where it was found: the name itself, or one above it. Empty: there is none, and every CA may issue.
    at: str
    records: tuple[CAARecord, ...]


NO_CAA = RelevantCAA(at="", records=())


class CAALookup:
    """For one scan: each name is asked once. Belongs to one event loop."""

    def __init__(
        self, servers: Sequence[NameServer] = (), *, timeout: float = 10, concurrency: int = 50
    ) -> None:
        """No servers: the system's. Raises LookFailed: the system has none."""
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not servers)
        except (dns.resolver.NoResolverConfiguration, OSError) as error:
            raise LookFailed("dns", "no name server: /etc/resolv.conf names none. Give servers") from error
        if servers:
            self._resolver.nameservers = [
                dns.nameserver.Do53Nameserver(each.address, each.port) for each in servers
            ]
        self._resolver.lifetime = timeout
        self._resolver.timeout = timeout / 2
        self._slots = asyncio.Semaphore(concurrency)
        self._known: dict[str, asyncio.Task[tuple[CAARecord, ...]]] = {}

    async def relevant(self, name: str) -> RelevantCAA:
        """Climbs from the name upwards to the first that has any. `name`: A-labels, without a star. Raises LookFailed."""
        labels = name.rstrip(".").split(".")[-MOST_PARENTS:]
        for first in range(len(labels)):
            asked = ".".join(labels[first:])
            records = await self._records(asked)
            if records:
                return RelevantCAA(at=asked, records=records)
        return NO_CAA

    async def _records(self, name: str) -> tuple[CAARecord, ...]:
        task = self._known.get(name)
        if task is None:
            task = self._known[name] = asyncio.create_task(self._ask(name))
        # Shielded: whoever else waits for the name must not lose it by one's cancellation.
        return await asyncio.shield(task)

    async def _ask(self, name: str) -> tuple[CAARecord, ...]:
        async with self._slots:
            try:
                answer = await self._resolver.resolve(
                    dns.name.from_text(name), dns.rdatatype.CAA, raise_on_no_answer=False
                )
            except dns.resolver.NXDOMAIN:
                return ()
            except (dns.exception.DNSException, OSError, ValueError) as error:
                # RFC 8659, 3: what cannot be looked up is not the same as nothing.
                raise LookFailed(
                    "dns", f"{name}: its CAA records cannot be looked up: {_short(error)}"
                ) from error
        return tuple(_records(answer))

    async def close(self) -> None:
        for task in self._known.values():
            task.cancel()
        await asyncio.gather(*self._known.values(), return_exceptions=True)


def _records(answer: dns.resolver.Answer) -> Iterator[CAARecord]:
    for each in list(answer.rrset or ())[:MOST_RECORDS]:
        yield CAARecord(
            tag=each.tag.decode("ascii", "replace").lower(),
            value=each.value.decode("ascii", "replace")[:1000],
            critical=bool(each.flags & 128),
        )


#: Types of records whose names somebody may connect to.
_HOSTS = (dns.rdatatype.A, dns.rdatatype.AAAA, dns.rdatatype.CNAME)


async def hosts_of_zone(
    zone: str, server: NameServer, *, seconds: float = 30, most: int = 1_000_000
) -> list[str]:
    """Names in a zone that have an address or an alias, sorted, by a transfer (AXFR). Wildcards are left out: they name no
    host. Raises LookFailed: refused, not a zone of that server, too large."""
    origin = dns.name.from_text(zone)
    found: set[str] = set()
    received = dns.zone.Zone(origin)
    try:
        async with asyncio.timeout(seconds):
            query, _ = dns.xfr.make_query(received)
            await dns.asyncquery.inbound_xfr(
                server.address, received, query, port=server.port, timeout=seconds, lifetime=seconds
            )
    except TimeoutError as error:
        raise LookFailed("timeout", f"{zone}: no transfer from {server.address} in time") from error
    except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
        raise LookFailed(
            "permission",
            f"{zone}: {server.address} does not transfer it: {_short(error)}. Allow AXFR to this host there",
        ) from error
    for name, node in received.nodes.items():
        if name.is_wild() or not any(each.rdtype in _HOSTS for each in node):
            continue
        found.add(name.derelativize(origin).to_text(omit_final_dot=True).lower())
        if len(found) > most:
            raise LookFailed("other", f"{zone}: more than {most} hosts")
    return sorted(found)


def _short(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return "".join(each if each.isprintable() else " " for each in text)[:200]
