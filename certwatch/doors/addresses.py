"""Which addresses may be reached for a URL that somebody else wrote."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Reached for nobody: link-local holds the clouds' metadata services, and these two are metadata services elsewhere
#: (AWS over IPv6, Alibaba). A configuration can open networks, but not these.
_NEVER: tuple[Network, ...] = (
    ip_network("169.254.0.0/16"),
    ip_network("fe80::/10"),
    ip_network("fd00:ec2::/32"),
    ip_network("100.100.100.200/32"),
)
#: Addresses that carry an IPv4 address which a translator on the way may go to: NAT64 (RFC 6052, 8215), 6to4 (RFC
#: 3056). With the offset of its first bit from the right.
_CARRIERS: tuple[tuple[IPv6Network, int], ...] = (
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("64:ff9b:1::/48"), 0),
    (IPv6Network("2002::/16"), 80),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPolicy:
    """The public internet, and what is opened besides."""

    #: Private, loopback and other special networks that may be reached.
    allowed: tuple[Network, ...] = ()

    def why_not(self, address: str) -> str | None:
        """What kind of address forbids it, in words. None: it may be reached."""
        try:
            ip = ip_address(address.partition("%")[0])
        except ValueError:
            return "not an address"
        for each in (ip, *_carried(ip)):
            why = self._why_not(each)
            if why is not None:
                return why
        return None

    def _why_not(self, ip: Address) -> str | None:
        if any(ip.version == network.version and ip in network for network in _NEVER):
            return "a link-local or metadata address"
        if ip.is_multicast or ip.is_unspecified:
            return "no address of one host"
        if any(ip.version == network.version and ip in network for network in self.allowed):
            return None
        if ip.is_loopback:
            return "a loopback address"
        # Not is_private: it knows neither the carriers' shared space (RFC 6598) nor reserved space.
        return None if ip.is_global else "a private or reserved address"


#: Nothing is opened besides.
PUBLIC = AddressPolicy()
EVERYWHERE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def _carried(ip: Address) -> tuple[IPv4Address, ...]:
    if not isinstance(ip, IPv6Address):
        return ()
    if ip.ipv4_mapped is not None:
        return (ip.ipv4_mapped,)
    if ip.teredo is not None:
        return ip.teredo
    return tuple(
        IPv4Address((int(ip) >> offset) & 0xFFFFFFFF) for network, offset in _CARRIERS if ip in network
    )
