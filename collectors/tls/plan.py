"""Targets → endpoints: lazily, each once, without what is excluded. Pure.

No set of addresses is ever made: that an address was named by an earlier target, or is excluded, is found by
looking its prefixes up in the few networks that were written.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv6Address, ip_address
from socket import inet_ntoa
from typing import NamedTuple

from collectors.tls.targets import Network, Ports, Target

_ALL_PORTS: Ports = (range(1, 65536),)


class Endpoint(NamedTuple):
    """One thing to look at."""

    target: Target
    #: An address; or a name that must be resolved first.
    host: str
    port: int
    #: SNI. None: none is sent.
    server_name: str | None
    #: True: `host` is a name.
    is_name: bool
    #: Where `host` came from a name: how long that took.
    dns_seconds: float | None = None


def _count(ports: Ports) -> int:
    return sum(len(each) for each in ports)


def _covers(outer: Ports, inner: Ports) -> bool:
    return all(any(o.start <= i.start and i.stop <= o.stop for o in outer) for i in inner)


class _Networks:
    """Networks with ports, by prefix. Asked of one address, it looks at one entry a prefix length."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        # IP version → host bits → prefix → (order, ports)
        self._tables: dict[int, dict[int, dict[int, list[tuple[int, Ports]]]]] = {4: {}, 6: {}}

    def add(self, network: Network, order: int, ports: Ports) -> None:
        bits = network.max_prefixlen - network.prefixlen
        table = self._tables[network.version].setdefault(bits, {})
        table.setdefault(int(network.network_address) >> bits, []).append((order, ports))

    def holding(self, version: int, address: int, before: float) -> list[tuple[int, Ports]]:
        """(host bits, ports) of the networks of an order less than `before` that hold the address."""
        return [
            (bits, ports)
            for bits, table in self._tables[version].items()
            for order, ports in table.get(address >> bits, ())
            if order < before
        ]


#: Endpoints that differ in one of these are different: protocol, SNI.
_Key = tuple[str | None, str | None]


class Plan:
    """What one scan looks at. Made new for each scan; `endpoints` can be walked once."""

    def __init__(
        self, targets: Sequence[Target], exclusions: Sequence[Target], server_name: str | None
    ) -> None:
        self._targets = targets
        self._override = server_name
        self._excluded = _Networks()
        self._excluded_names: dict[str, Ports] = {}
        for each in exclusions:
            ports = each.ports or _ALL_PORTS
            if each.network is not None:
                self._excluded.add(each.network, 0, ports)
            elif each.name is not None:
                self._excluded_names[each.name] = self._excluded_names.get(each.name, ()) + ports
        self._named: dict[_Key, _Networks] = {}
        for order, target in enumerate(targets):
            if target.network is not None:
                key = self._key(target)
                self._named.setdefault(key, _Networks()).add(target.network, order, target.probed_ports)
        #: What names led to: (host, port, protocol, SNI).
        self._admitted: set[tuple[str, int, str | None, str | None]] = set()
        #: Endpoints in all, as far as known: a name counts as one until it is resolved.
        self.total = sum(
            (target.network.num_addresses if target.network is not None else 1) * _count(target.probed_ports)
            for target in targets
        )
        #: Targets before this one have been walked to their end.
        self.position = 0

    def _server_name(self, target: Target) -> str | None:
        return target.server_name or self._override or target.name

    def _key(self, target: Target) -> _Key:
        return (target.protocol, self._server_name(target))

    def endpoints(self) -> Iterator[Endpoint]:
        for order, target in enumerate(self._targets):
            self.position = order
            if target.network is not None:
                yield from self._addresses(order, target, target.network)
            elif target.name is not None:
                yield from self._ports_of(target, target.name)
        self.position = len(self._targets)

    def remaining(self) -> Sequence[Target]:
        """Targets that have not been walked to their end."""
        return self._targets[self.position :]

    def _ports_of(self, target: Target, name: str) -> Iterator[Endpoint]:
        server_name = self._server_name(target)
        excluded = self._excluded_names.get(name, ())
        for span in target.probed_ports:
            for port in span:
                if any(port in each for each in excluded):
                    self.total -= 1
                else:
                    yield Endpoint(target, name, port, server_name, True)

    def _addresses(self, order: int, target: Target, network: Network) -> Iterator[Endpoint]:
        earlier = self._named[self._key(target)]
        ports = target.probed_ports
        server_name = self._server_name(target)
        each_has = _count(ports)
        address, last = int(network.network_address), int(network.broadcast_address)
        version = network.version
        while address <= last:
            holding = self._excluded.holding(version, address, 1) + earlier.holding(version, address, order)
            whole = max((bits for bits, taken in holding if _covers(taken, ports)), default=None)
            if whole is not None:
                # Leap to the end of the network that holds it: nothing in there is left.
                onward = min(((address >> whole) + 1) << whole, last + 1)
                self.total -= (onward - address) * each_has
                address = onward
                continue
            text = _text(version, address)
            host = f"{text}%{target.zone}" if target.zone else text
            for span in ports:
                for port in span:
                    if holding and any(port in taken for _, spans in holding for taken in spans):
                        self.total -= 1
                    else:
                        yield Endpoint(target, host, port, server_name, False)
            address += 1

    def admit(self, endpoint: Endpoint, host: str) -> bool:
        """Whether this scan still has to look at `host` (an address that the endpoint's name resolved to, or
        the name itself if it did not) on the endpoint's behalf. True once."""
        target = endpoint.target
        key = (host, endpoint.port, target.protocol, endpoint.server_name)
        if key in self._admitted or self._held(endpoint, host):
            self.total -= 1
            return False
        self._admitted.add(key)
        return True

    def _held(self, endpoint: Endpoint, host: str) -> bool:
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        holding = self._excluded.holding(address.version, int(address), 1)
        named = self._named.get(self._key(endpoint.target))
        if named is not None:
            holding += named.holding(address.version, int(address), float("inf"))
        return any(endpoint.port in taken for _, spans in holding for taken in spans)


def _text(version: int, address: int) -> str:
    # inet_ntoa is five times as fast as IPv4Address.
    return inet_ntoa(address.to_bytes(4, "big")) if version == 4 else str(IPv6Address(address))
