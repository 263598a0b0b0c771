"""The target `listening`: this host's own listening ports, asked for at each scan."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_network

from certwatch.doors.listening import listening_ports
from collectors.tls.starttls import BY_PORT
from collectors.tls.targets import Target

#: Services that speak first, or take a stranger's greeting for an attack, and never speak TLS from the first byte:
#: ssh, DNS, portmapper, MySQL (which blocks hosts that leave before they log in), Redis, memcached, MongoDB.
NEVER_TLS = frozenset({22, 53, 111, 3306, 6379, 11211, 27017})


def with_own_ports(targets: Sequence[Target]) -> list[Target]:
    """Each `listening` replaced by one target for each port that may speak TLS. Blocking. Raises OSError."""
    return [each for target in targets for each in (_own(target) if target.listening else (target,))]


def _own(target: Target) -> Iterator[Target]:
    for address, port in listening_ports():
        if port not in NEVER_TLS:
            ports = (range(port, port + 1),)
            yield replace(target, network=ip_network(address), ports=ports, protocol=BY_PORT.get(port))
