"""Does a certificate speak for a host? (RFC 9525, 6)"""

from collections.abc import Iterable
from ipaddress import ip_address

from certwatch.model.certificate import Name


def covers(names: Iterable[Name], host: str) -> bool:
    """`host`: an A-label name or an address. A wildcard is a whole leftmost label and stands for one (6.3)."""
    try:
        wanted = f"ip:{ip_address(host)}"
    except ValueError:
        pass
    else:
        return any(name == wanted for name in names)
    host = host.lower().rstrip(".")
    parent = host.partition(".")[2]
    for name in names:
        kind, _, value = name.partition(":")
        if kind != "dns":
            continue
        value = value.rstrip(".")
        # A star for a whole top-level domain is nobody's to have.
        if value == host or (value.startswith("*.") and "." in parent and value[2:] == parent):
            return True
    return False
