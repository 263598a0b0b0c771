"""Certificate revocation lists (RFC 5280, 5): what an inventory says of one. The signature is not judged here."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

from certwatch.x509 import ber
from certwatch.x509.ber import OCTETS, SEQUENCE, Element
from certwatch.x509.der import instant
from certwatch.x509.keys import signature_name
from certwatch.x509.names import distinguished_name, general_name
from certwatch.x509.tlv import Unreadable

T = TypeVar("T")

_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_CRL_NUMBER, _DELTA, _DISTRIBUTION_POINT = "2.5.29.20", "2.5.29.27", "2.5.29.28"
#: Tags of IssuingDistributionPoint (5.2.5) that restrict what the list covers.
_SCOPES = {
    0x81: "user certificates",
    0x82: "CA certificates",
    0x83: "some reasons",
    0x84: "indirect",
    0x85: "attribute certificates",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CRL:
    """One list, as far as it could be read: None is unreadable (then in `problems`) or absent."""

    #: RFC 4514 string, and the name's DER.
    issuer: str
    issuer_der: bytes | None
    #: CRLNumber (5.2.3). None: absent.
    number: int | None
    #: When it was made, and by when the next one is there: aware UTC. No next update: absent, against 5.1.2.5.
    this_update: datetime | None
    next_update: datetime | None
    signature_algorithm: str
    #: Revoked certificates in it. None: not counted to the end.
    entry_count: int | None
    #: The URIs of the issuing distribution point (5.2.5), and what it restricts the list to.
    distribution_points: tuple[str, ...] = ()
    covers_only: tuple[str, ...] = ()
    #: A delta CRL (5.2.4): the number of the list that it adds to. None: a whole list.
    base_number: int | None = None
    problems: tuple[str, ...] = ()

    @property
    def is_delta(self) -> bool:
        return self.base_number is not None

    @property
    def kind(self) -> Literal["full", "delta", "partition", "indirect"]:
        """delta: adds to another list (5.2.4). indirect: of several issuers; partition: of some certificates or reasons
        only (5.2.5)."""
        if self.is_delta:
            return "delta"
        if "indirect" in self.covers_only:
            return "indirect"
        return "partition" if self.distribution_points or self.covers_only else "full"


@dataclass(slots=True)
class _Parts:
    """The fields of TBSCertList (5.1). None: not there, or not reached."""

    signature: Element | None = None
    issuer: Element | None = None
    this_update: Element | None = None
    next_update: Element | None = None
    revoked: Element | None = None
    extensions: Element | None = None


def looks_like(data: bytes) -> bool:
    """Is this CertificateList? Told from a certificate by the time in the fourth or third place of its TBS."""
    try:
        tbs = ber.parts(ber.only(data), 2, "CertificateList")[0]
        return _split(tbs).this_update is not None
    except Unreadable:
        return False


def begins(head: bytes) -> bool:
    """Is this the beginning of a list, in DER, whose end is somewhere else? 4 KiB tell, whatever its size."""
    try:
        position = ber.inside(head, ber.inside(head))
        first = ber.element(head, position)
        if first.tag == ber.INTEGER:
            first = ber.element(head, first.after)
        issuer = ber.element(head, first.after)
        return (first.tag, issuer.tag) == (SEQUENCE, SEQUENCE) and _is_time(ber.element(head, issuer.after))
    except Unreadable:
        return False


def read(data: bytes) -> CRL:
    """Never raises, on any bytes. A million entries are counted in a fraction of a second, and not kept."""
    problems: list[str] = []
    parts = _Parts()
    try:
        parts = _split(ber.parts(ber.only(data), 1, "CertificateList")[0])
    except Unreadable as error:
        problems.append(f"structure: {error}")
    if parts.issuer is None or parts.this_update is None:
        problems.append("structure: not a certificate revocation list")
    extensions = _extensions(parts.extensions, problems)

    def part(what: str, reader: Callable[[Element], T], found: Element | None, default: T) -> T:
        if found is None:
            return default
        try:
            return reader(found)
        except Unreadable as error:
            problems.append(f"{what}: {error}")
            return default

    nowhere: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    points, scopes = part(
        "distribution point", _distribution_point, extensions.get(_DISTRIBUTION_POINT), nowhere
    )
    return CRL(
        issuer=part("issuer", lambda found: distinguished_name(found.raw), parts.issuer, ""),
        issuer_der=parts.issuer.raw if parts.issuer is not None else None,
        number=part("number", ber.integer, extensions.get(_CRL_NUMBER), None),
        this_update=part("this update", _time, parts.this_update, None),
        next_update=part("next update", _time, parts.next_update, None),
        signature_algorithm=part("algorithm", lambda found: signature_name(found.raw), parts.signature, ""),
        entry_count=part("entries", _count, parts.revoked, None) if parts.revoked is not None else 0,
        distribution_points=points,
        covers_only=scopes,
        base_number=part("delta", ber.integer, extensions.get(_DELTA), None),
        problems=tuple(problems),
    )


def _split(tbs: Element) -> _Parts:
    """Raises Unreadable: these are not the fields of a list. What is in them is read later, each by itself."""
    parts = _Parts()
    inner = list(tbs.expect(SEQUENCE, "TBSCertList").children())
    if inner and inner[0].tag == ber.INTEGER:
        inner = inner[1:]
    if len(inner) < 3 or [each.tag for each in inner[:2]] != [SEQUENCE, SEQUENCE] or not _is_time(inner[2]):
        raise Unreadable("not algorithm, issuer and time")
    parts.signature, parts.issuer, parts.this_update = inner[:3]
    for each in inner[3:]:
        if _is_time(each) and parts.next_update is None:
            parts.next_update = each
        elif each.tag == SEQUENCE:
            parts.revoked = each
        elif each.tag == 0xA0:
            parts.extensions = each
    return parts


def _is_time(found: Element) -> bool:
    return found.tag in (_UTC_TIME, _GENERALIZED_TIME)


def _time(found: Element) -> datetime:
    return instant(found.tag, found.content)


def _count(revoked: Element) -> int:
    """By lengths alone: this loop runs once for each revoked certificate of the largest lists there are."""
    data, position, end, count = revoked.data, revoked.first, revoked.end, 0
    while position < end - 1:
        length = data[position + 1]
        if length < 0x80:
            position += 2 + length
        else:
            position = ber.element(data, position, end).after
        count += 1
    if position != end:
        raise Unreadable("the last entry is cut off")
    return count


def _extensions(wrapped: Element | None, problems: list[str]) -> dict[str, Element]:
    """Each extension's value by OID; the first of two."""
    found: dict[str, Element] = {}
    if wrapped is None:
        return found
    try:
        for extension in ber.parts(wrapped, 1, "the extensions")[0].children():
            inner = ber.parts(extension, 2, "an extension")
            name = ber.oid(inner[0])
            if name in (_CRL_NUMBER, _DELTA, _DISTRIBUTION_POINT):
                found.setdefault(
                    name, ber.element(ber.octets(inner[-1].expect(OCTETS, "an extension's value")))
                )
    except Unreadable as error:
        problems.append(f"extensions: {error}")
    return found


def _distribution_point(value: Element) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """URIs, and what it restricts the list to (5.2.5)."""
    uris: list[str] = []
    scopes: list[str] = []
    for each in value.expect(SEQUENCE, "IssuingDistributionPoint").children():
        if each.tag in _SCOPES:
            # A BOOLEAN that says false restricts nothing; reasons are a BIT STRING.
            if each.tag == 0x83 or any(each.content):
                scopes.append(_SCOPES[each.tag])
        elif each.tag == 0xA0:
            for name in each.children():
                if name.tag == 0xA0:
                    uris += [
                        general_name(one.tag, one.content).removeprefix("uri:")
                        for one in name.children()
                        if one.tag & 0x1F == 6
                    ]
    return tuple(uris), tuple(scopes)
