"""Targets → endpoints: lazily, each once, without what is excluded. Pure.

No set of addresses is ever made: what is left of the networks is a few segments (`collectors.tls.segments`), whose
numbers are walked in a random order that is computed (`collectors.tls.shuffle`).
"""

import hashlib
import json
import secrets
from collections.abc import Iterator, Sequence
from ipaddress import IPv6Address, ip_address
from socket import inet_ntoa
from typing import NamedTuple

from certwatch.plugins.collector import WHOLE, Part
from collectors.tls.segments import Claim, Spread, segments
from collectors.tls.shuffle import Shuffle
from collectors.tls.targets import Network, Ports, Target

ALL_PORTS: Ports = (range(1, 65536),)


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
    #: Where in the random order of the networks it stands. None: it is of no network.
    step: int | None = None


def _count(ports: Ports) -> int:
    return sum(len(each) for each in ports)


def _claim(order: int, target: Target, network: Network, ports: Ports, *, wanted: bool) -> Claim:
    return Claim(
        order,
        target,
        network.version,
        int(network.network_address),
        int(network.broadcast_address),
        ports,
        wanted,
    )


class Networks:
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
Key = tuple[str | None, str | None]


def key_of(target: Target, server_name: str | None) -> Key:
    """`server_name`: the collector's override."""
    return target.protocol, target.server_name or server_name or target.name


class Plan:
    """What one scan looks at. Made new for each scan; `endpoints` can be walked once.

    Names and single addresses come first, in their order. Networks come after, all of them in one random order: no
    network, and no host, gets its connections in a row.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        exclusions: Sequence[Target],
        server_name: str | None,
        *,
        seed: int | None = None,
        part: Part = WHOLE,
        fixed: int | None = None,
    ) -> None:
        """`seed`: of the random order; None: a new one. `part`: what of it all is walked; an endpoint that two targets
        name is in one part alone, but for what names lead to. `fixed`: so many of the targets, from the first on, are the same
        wherever and whenever a part is walked; None: all. What comes after them stands in lists, which may change between
        two parts: a network of theirs is in one part as a whole, and never decides which endpoints another part has."""
        self._targets = targets
        self._part = part
        self._override = server_name
        self._excluded = Networks()
        self._excluded_names: dict[str, Ports] = {}
        claims: list[Claim] = []
        for each in exclusions:
            ports = each.ports or ALL_PORTS
            if each.network is not None:
                self._excluded.add(each.network, 0, ports)
                claims.append(_claim(-1, each, each.network, ports, wanted=False))
            elif each.name is not None:
                self._excluded_names[each.name] = self._excluded_names.get(each.name, ()) + ports
        self._named: dict[Key, Networks] = {}
        by_key: dict[Key, list[Claim]] = {}
        for order, target in enumerate(targets):
            if target.network is not None:
                key, ports = self._key(target), target.probed_ports
                self._named.setdefault(key, Networks()).add(target.network, order, ports)
                claim = _claim(order, target, target.network, ports, wanted=target.is_wide)
                by_key.setdefault(key, []).append(claim)
        written = len(targets) if fixed is None or part == WHOLE else fixed
        divided = [
            piece
            for each in by_key.values()
            for piece in segments([*claims, *(claim for claim in each if claim.order < written)])
        ]
        listed = {id(target) for target in targets[written:] if part.has(target.text)}
        whole = [
            piece
            for each in by_key.values()
            if any(id(claim.target) in listed for claim in each)
            for piece in segments([*claims, *each])
            if id(piece.target) in listed
        ]
        self._spread = Spread([*divided, *whole])
        #: What the random order is made of: the same order for the same two.
        self.seed = secrets.randbits(64) if seed is None else seed
        #: What names led to: (host, port, protocol, SNI).
        self._admitted: set[tuple[str, int, str | None, str | None]] = set()
        #: Endpoints in all, as far as known: a name counts as one until it is resolved.
        #: Which numbers of the networks' endpoints are walked: of those that are divided, and from a number on all.
        self._divided = Spread(divided).size
        self._numbers = part.of(self._divided)
        self._walked = len(self._numbers) + self._spread.size - self._divided
        self.total = self._walked + sum(
            _count(target.probed_ports) for target in targets if not target.is_wide and part.has(target.text)
        )
        #: Targets before this one have been walked to their end.
        self._position = 0
        #: The networks have been walked to their end.
        self.is_walked = not self._walked

    @property
    def digest(self) -> str:
        """Of the networks, as they are walked: two plans with the same walk the same."""
        said = [
            (
                piece.target.text,
                piece.version,
                piece.first,
                piece.addresses,
                [(each.start, each.stop) for each in piece.ports],
            )
            for piece in self._spread.segments
        ]
        walked = [
            said,
            self._override,
            *([self._part.index, self._part.count] if self._part != WHOLE else []),
        ]
        return hashlib.sha256(json.dumps(walked).encode()).hexdigest()

    @property
    def wide(self) -> list[Target]:
        """Networks of which something is walked."""
        if not self._walked:
            return []
        return list({id(piece.target): piece.target for piece in self._spread.segments}.values())

    def _server_name(self, target: Target) -> str | None:
        return self._key(target)[1]

    def _key(self, target: Target) -> Key:
        return key_of(target, self._override)

    def endpoints(self, step: int = 0) -> Iterator[Endpoint]:
        """`step`: where to go on in the random order of the networks (`Endpoint.step`)."""
        for order, target in enumerate(self._targets):
            self._position = order
            if target.is_wide or not self._part.has(target.text):
                continue
            if target.network is not None:
                yield from self._address(order, target, target.network)
            elif target.name is not None:
                yield from self._ports_of(target, target.name)
        self._position = len(self._targets)
        shared = len(self._numbers)
        for at, number in Shuffle(self._walked, self.seed).from_step(step):
            piece, address, port = self._spread.at(
                self._numbers[number] if number < shared else self._divided + number - shared
            )
            target = piece.target
            text = _text(piece.version, address)
            host = f"{text}%{target.zone}" if target.zone else text
            yield Endpoint(target, host, port, self._server_name(target), False, step=at)
        self.is_walked = True

    def remaining(self) -> Sequence[Target]:
        """Targets that have not been walked to their end."""
        rest = self._targets[self._position :]
        named = [each for each in rest if not each.is_wide and self._part.has(each.text)]
        return [*named, *(() if self.is_walked else self.wide)]

    def _ports_of(self, target: Target, name: str) -> Iterator[Endpoint]:
        server_name = self._server_name(target)
        excluded = self._excluded_names.get(name, ())
        for span in target.probed_ports:
            for port in span:
                if any(port in each for each in excluded):
                    self.total -= 1
                else:
                    yield Endpoint(target, name, port, server_name, True)

    def _address(self, order: int, target: Target, network: Network) -> Iterator[Endpoint]:
        version, address = network.version, int(network.network_address)
        earlier = self._named[self._key(target)]
        holding = self._excluded.holding(version, address, 1) + earlier.holding(version, address, order)
        text = _text(version, address)
        host = f"{text}%{target.zone}" if target.zone else text
        server_name = self._server_name(target)
        for span in target.probed_ports:
            for port in span:
                if holding and any(port in taken for _, spans in holding for taken in spans):
                    self.total -= 1
                else:
                    yield Endpoint(target, host, port, server_name, False)

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
