"""This host's listening TCP ports, as the kernel lists them."""

import socket
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

#: proc(5), /proc/net/tcp: the state TCP_LISTEN.
_LISTEN = "0A"


def listening_ports(proc: Path = Path("/proc/net")) -> list[tuple[str, int]]:
    """Address and port of every listening socket, one at which it can be reached from this host: a loopback address
    where it listens on all. Sorted; blocking. Raises OSError where there is no such list."""
    found = set(_sockets((proc / "tcp").read_text()))
    try:
        found |= set(_sockets((proc / "tcp6").read_text()))
    except FileNotFoundError:
        pass  # a kernel without IPv6
    both = {port for address, port in found if address == "127.0.0.1"}
    # A socket on all IPv6 addresses takes IPv4 as well, or has a brother that does.
    return sorted((address, port) for address, port in found if address != "::1" or port not in both)


def _sockets(table: str) -> Iterable[tuple[str, int]]:
    for row in table.splitlines()[1:]:
        fields = row.split()
        if len(fields) > 3 and fields[3] == _LISTEN:
            address, _, port = fields[1].partition(":")
            yield _address(address), int(port, 16)


def _address(text: str) -> str:
    # Words of 32 bits in the machine's own order.
    words = [int(text[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(text), 8)]
    raw = b"".join(words)
    address = IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 or _maps_ipv4() else "::1"
    return str(address)


def _maps_ipv4() -> bool:
    """Sockets on all IPv6 addresses take IPv4 too, unless the host was told otherwise."""
    return (
        not socket.has_ipv6
        or not Path("/proc/sys/net/ipv6/bindv6only").exists()
        or (Path("/proc/sys/net/ipv6/bindv6only").read_text().strip() == "0")
    )
