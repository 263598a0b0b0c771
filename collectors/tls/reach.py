"""Which places targets can lead to, told without looking at any. Pure."""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from certwatch.model.location import LocationURI, TLSEndpoint, parse_tls_location, tls_location
from collectors.tls.plan import ALL_PORTS, Key, Networks, key_of
from collectors.tls.targets import Ports, Target


class Reach:
    """Of targets as a config names them. A name may lead to any address: which, DNS says to whoever asks."""

    def __init__(
        self, targets: Sequence[Target], exclusions: Sequence[Target], server_name: str | None
    ) -> None:
        """`server_name`: the collector's override."""
        self._excluded = Networks()
        without: dict[str, Ports] = {}
        for each in exclusions:
            ports = each.ports or ALL_PORTS
            if each.network is not None:
                self._excluded.add(each.network, 0, ports)
            elif each.name is not None:
                without[each.name] = without.get(each.name, ()) + ports
        self._excluded_names = without
        self._networks: dict[Key, Networks] = {}
        #: Ports of each name, and of all names that are looked at in that way.
        self._named: dict[tuple[Key, str], set[range]] = {}
        self._resolved: dict[Key, set[range]] = {}
        for target in targets:
            key = key_of(target, server_name)
            if target.network is not None:
                self._networks.setdefault(key, Networks()).add(target.network, 0, target.probed_ports)
            elif target.name is not None:
                spans = _left(target.probed_ports, without.get(target.name, ()))
                self._named.setdefault((key, target.name), set()).update(spans)
                self._resolved.setdefault(key, set()).update(spans)

    def excludes(self, endpoint: TLSEndpoint) -> bool:
        """It is never looked at, whoever names it."""
        address = _address(endpoint.host)
        if address is None:
            return _has(self._excluded_names.get(endpoint.host, ()), endpoint.port)
        held = self._excluded.holding(*address, 1)
        return any(_has(ports, endpoint.port) for _, ports in held)

    def has(self, endpoint: TLSEndpoint) -> bool:
        """One of the targets leads there."""
        key = endpoint.protocol, endpoint.server_name
        address = _address(endpoint.host)
        if address is None:
            return _has(self._named.get((key, endpoint.host), ()), endpoint.port)
        networks = self._networks.get(key)
        held = networks.holding(*address, 1) if networks is not None else ()
        return any(_has(ports, endpoint.port) for _, ports in held) or _has(
            self._resolved.get(key, ()), endpoint.port
        )


def endpoint_of(location: LocationURI) -> TLSEndpoint | None:
    """None: no look of ours would call its place so."""
    try:
        said = parse_tls_location(location)
    except ValueError:
        return None
    ours = tls_location(said.host, said.port, server_name=said.server_name, protocol=said.protocol)
    # Names of interfaces may have capitals.
    return said if ours == location or ("%" in said.host and ours == location.lower()) else None


def _address(host: str) -> tuple[int, int] | None:
    """Version and number. None: it is a name."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return address.version, int(address)


def _has(spans: Iterable[range], port: int) -> bool:
    return any(port in each for each in spans)


def _left(ports: Ports, excluded: Ports) -> Iterable[range]:
    if not excluded:
        return ports
    return [range(port, port + 1) for span in ports for port in span if not _has(excluded, port)]
