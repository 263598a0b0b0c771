"""Where a host name is to be looked at: targets of the tls collector, which the inventory carries to it."""

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from collectors.kubernetes.objects import Meta, annotation

#: Says it in the object's own words, in place of what follows from it: "shop.example.com:8443 mail.example.com:25/smtp".
ANNOTATION = "certwatch.io/targets"
#: Of one host.
MOST_ADDRESSES = 8
_LONGEST = 2000
_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?")
#: What is asked for behind a wildcard.
_ANY = "certwatch"


def is_host(text: object) -> bool:
    """A DNS name, perhaps with a wildcard in front. Objects of extensions may hold any text."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def targets(meta: Meta, host: str, port: int, addresses: Iterable[str] = ()) -> str:
    """`addresses`: at which the cluster itself says that it serves the host. They are looked at beside what DNS says, since
    in front of a cluster there may be another who serves. Empty: nowhere that is known."""
    said = annotation(meta, ANNOTATION)
    if said:
        return " ".join(said.replace(",", " ").split())[:_LONGEST]
    wildcard = host.startswith("*.")
    name = f"{_ANY}{host[1:]}" if wildcard else host
    found = [] if wildcard else [f"{host}:{port}"]
    for address in list(dict.fromkeys(addresses))[:MOST_ADDRESSES]:
        shown = bracketed(address)
        if shown and address != host:
            found.append(f"tls://{shown}:{port}/?sni={name}")
    return joined(found)


def joined(found: Sequence[str]) -> str:
    """As many of them as go into one fact."""
    kept: list[str] = []
    size = 0
    for each in found:
        size += len(each) + 1
        if size > _LONGEST:
            break
        kept.append(each)
    return " ".join(kept)


def bracketed(address: str) -> str:
    """An address or a name, as it stands before a port. Empty: it is neither."""
    try:
        return f"[{address}]" if ip_address(address).version == 6 else address
    except ValueError:
        return address if is_host(address) and not address.startswith("*") else ""
