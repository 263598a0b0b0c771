"""Names in a certificate, read so that none can hide.

Whatever reads a host name out of a certificate finds it behind one of two object identifiers, subjectAltName (55 1d 11) and
commonName (55 04 03): the content octets of an identifier are the same in every encoding of it, good or bad. So each place
where these octets stand is read, whatever is around it; what cannot be read there counts as "could be anything", and its bytes
are searched instead. A certificate without any such place, and that is none, is searched whole.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal

from certwatch.ct.hosts import Labels, hosts, texts
from certwatch.ct.watch import WatchList, folded, networks_of
from certwatch.x509 import ber
from certwatch.x509.tlv import Unreadable, header

Source = Literal["dns", "ip", "uri", "email", "dirname", "other", "cn", "organisation", "key", "unreadable"]

SAN = b"\x55\x1d\x11"
CN = b"\x55\x04\x03"
ORGANISATION = b"\x55\x04\x0a"
#: Places that are read, of each of the three; a certificate with more is searched as well.
MOST_PLACES = 64
#: Characters of names that are no plain host names, and have many readings; a certificate with more is searched as well.
MOST_ODD = 32 << 10
_PLAIN = re.compile(r"[A-Za-z0-9_.*-]*")
#: Names of one certificate.
MOST_NAMES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Why a certificate is of concern."""

    #: The watched item: ".example.com", "192.0.2.0/24", "Example Ltd", hex of a key's SHA-256.
    item: str
    #: Where it stands in the certificate.
    source: Source
    #: What stands there, as it could be read. Empty: it could not.
    name: str


@dataclass(slots=True)
class Names:
    """What was read."""

    hosts: list[tuple[Labels, Source]] = field(default_factory=list)
    addresses: list[IPv4Address | IPv6Address] = field(default_factory=list)
    organisations: list[str] = field(default_factory=list)
    #: SHA-256 of the SubjectPublicKeyInfo. None: not found.
    key: bytes | None = None
    #: Where names should be that cannot be read; or more of them than are looked at. To the end: what it is that follows is not
    #: known. None: there is no such place.
    unreadable_from: int | None = None
    #: Characters so far that are not of a plain host name.
    odd: int = 0

    def unreadable(self, place: int) -> None:
        before = self.unreadable_from
        self.unreadable_from = place if before is None else min(before, place)


def match(data: bytes, watch: WatchList) -> list[Match]:
    """Everything in a certificate or TBSCertificate that is watched. Never raises, on any bytes."""
    names = read_names(data)
    found: dict[Match, None] = {}
    for labels, source in names.hosts:
        shown = ".".join(reversed(labels))
        for item in watch.matching(labels):
            found[Match(item=item.text, source=source, name=shown)] = None
        for text in networks_of(watch.matching_text(labels)):
            found[Match(item=text, source=source, name=shown)] = None
    for address in names.addresses:
        for text in networks_of(watch.matching_address(address)):
            found[Match(item=text, source="ip", name=str(address))] = None
    for organisation in names.organisations:
        wanted = watch.organisation_names.get(folded(organisation))
        if wanted is not None:
            found[Match(item=wanted, source="organisation", name=organisation[:200])] = None
    if names.key in watch.keys and names.key is not None:
        found[Match(item=names.key.hex(), source="key", name="")] = None
    if names.unreadable_from is not None:
        region = data[names.unreadable_from :]
        for item in watch.possible(region):
            found[Match(item=item.text, source="unreadable", name="")] = None
        for organisation in watch.possible_organisations(region):
            found[Match(item=organisation, source="unreadable", name="")] = None
    return list(found)


def read_names(data: bytes) -> Names:
    """Of a certificate or TBSCertificate. Never raises."""
    names = Names()
    places = _places(data, SAN, names)
    for place in places:
        _alternative_names(data, place, names)
    for place in _places(data, CN, names):
        _common_name(data, place, names)
    for place in _places(data, ORGANISATION, names):
        value = _value(data, place + len(ORGANISATION))
        if value is None:
            names.unreadable(place)
        else:
            names.organisations += texts(value[1], value[0])
    names.key = _key(data)
    if not places and names.key is None:
        names.unreadable(0)
    return names


def spki(data: bytes) -> bytes | None:
    """SubjectPublicKeyInfo of a certificate or TBSCertificate. None: it cannot be reached."""
    try:
        tag, start, end = header(data, 0, len(data))
        if tag != 0x30:
            return None
        tag, first, stop = header(data, start, end)
        if tag == 0x30:
            # A certificate: its first part is the TBS. That one begins with a version or a serial number.
            start, end = first, stop
            tag, first, stop = header(data, start, end)
        if tag == 0xA0:
            start = stop
        for _ in range(5):
            _, _, start = header(data, start, end)
        tag, _, stop = header(data, start, end)
        return data[start:stop] if tag == 0x30 else None
    except Unreadable:
        return None


def _key(data: bytes) -> bytes | None:
    found = spki(data)
    return None if found is None else sha256(found).digest()


def _places(data: bytes, identifier: bytes, names: Names) -> list[int]:
    """Where it stands; of more than are read, what follows is searched."""
    found: list[int] = []
    position = data.find(identifier)
    while position >= 0:
        if len(found) == MOST_PLACES:
            names.unreadable(position)
            break
        found.append(position)
        position = data.find(identifier, position + 1)
    return found


def _value(data: bytes, position: int) -> tuple[int, bytes] | None:
    """Tag and content of what stands there, in pieces or whole. None: it cannot be read."""
    try:
        found = ber.element(data, position)
        if found.tag & 0x20 and found.tag != 0x30:
            pieces = b"".join(each.content for each in _flat(found, 4))
            return found.tag & ~0x20, pieces
        return found.tag, found.content
    except Unreadable:
        return None


def _flat(found: ber.Element, depth: int) -> Iterator[ber.Element]:
    for each in found.children():
        if each.tag & 0x20 and depth:
            yield from _flat(each, depth - 1)
        else:
            yield each


def _common_name(data: bytes, place: int, names: Names) -> None:
    value = _value(data, place + len(CN))
    try:
        if value is None:
            raise Unreadable("no string")
        _hosts(value[1], value[0], "cn", names)
    except Unreadable:
        names.unreadable(place)


def _hosts(value: bytes, tag: int, source: Source, names: Names, fewest: int = 1) -> None:
    """`fewest`: labels. Raises Unreadable: there is more than is looked at."""
    for text in texts(value, tag):
        if not _PLAIN.fullmatch(text):
            names.odd += len(text)
            if names.odd > MOST_ODD:
                raise Unreadable(f"more than {MOST_ODD} characters of odd names")
        names.hosts += [(labels, source) for labels in hosts(text) if len(labels) >= fewest]


def _alternative_names(data: bytes, place: int, names: Names) -> None:
    position = place + len(SAN)
    try:
        found = ber.element(data, position)
        if found.tag == 0x01:
            found = ber.element(data, found.after)
        if found.tag not in (0x04, 0x24) or not _ends_extension(data, place, found.after):
            raise Unreadable("not an extension as it should be")
        content = ber.octets(found)
        sequence = ber.element(content)
        if sequence.tag != 0x30 or sequence.after != len(content):
            raise Unreadable("not one SEQUENCE")
        for count, name in enumerate(sequence.children()):
            if count > MOST_NAMES:
                raise Unreadable(f"more than {MOST_NAMES} names")
            _general_name(name, names)
    except Unreadable:
        names.unreadable(place)


def _ends_extension(data: bytes, place: int, after: int) -> bool:
    """That the extension, whose identifier's content is at `place`, ends with this value: else a reader may take a later one."""
    if place < 6 or data[place - 2 : place] != b"\x06\x03":
        return False
    ends = []
    if data[place - 4] == 0x30 and data[place - 3] < 0x80:
        ends.append(data[place - 3])
    if data[place - 5 : place - 3] == b"\x30\x81":
        ends.append(data[place - 3])
    if data[place - 6 : place - 4] == b"\x30\x82":
        ends.append(int.from_bytes(data[place - 4 : place - 2], "big"))
    return len(ends) == 1 and place - 2 + ends[0] == after


def _general_name(name: ber.Element, names: Names) -> None:
    kind = name.tag & 0x1F
    content = name.content
    if kind in (1, 2, 6):
        if name.tag & 0x20:
            content = b"".join(each.content for each in _flat(name, 4))
        source: Source = "dns" if kind == 2 else "email" if kind == 1 else "uri"
        _hosts(content, 0x16, source, names)
    elif kind == 7:
        if len(content) in (4, 16):
            names.addresses.append(ip_address(content))
        elif len(content) in (8, 32):
            # With a mask, as name constraints have it: somebody may take the address.
            names.addresses.append(ip_address(content[: len(content) // 2]))
        _hosts(content, 0x16, "ip", names, fewest=2)
    elif kind == 0:
        # SRVName, SmtpUTF8Mailbox and others: whatever strings are in it.
        for each in _flat(name, 6):
            if each.tag != 0x06:
                _hosts(each.content, each.tag, "other", names)
    # A directoryName's CN is found where all CNs are.
