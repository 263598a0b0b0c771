"""The few fields of a certificate that counting needs, some microseconds each. Reading all of it is the inventory's."""

from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

from certwatch.x509.der import instant
from certwatch.x509.outline import Unusual, beginning
from certwatch.x509.tlv import Unreadable, header


class Skimmed(NamedTuple):
    serial: int
    #: First 8 bytes of the SHA-256 of the issuer's name, hex: tells a database's issuers apart.
    issuer: str
    not_before: datetime
    not_after: datetime


#: Issuers' names are few, and repeated by every certificate.
_tags: dict[bytes, str] = {}
_MOST_TAGS = 1024


def skim(der: bytes) -> Skimmed | None:
    """None: these fields cannot be read (RFC 5280, 4.1)."""
    try:
        serial_number, name, first_second, last_second, _ = beginning(der)
    except (Unusual, IndexError):
        return _skim(der)
    return Skimmed(
        int.from_bytes(serial_number, "big"),
        issuer_tag(name),
        datetime.fromtimestamp(first_second, UTC),
        datetime.fromtimestamp(last_second, UTC),
    )


def _skim(der: bytes) -> Skimmed | None:
    """The long way, for what is not of the usual form."""
    try:
        _, start, end = header(der, 0, len(der))
        _, start, end = header(der, start, end)
        tag, value, stop = header(der, start, end)
        if tag == 0xA0:  # version
            tag, value, stop = header(der, stop, end)
        if tag != 0x02:
            return None
        serial = int.from_bytes(der[value:stop], "big", signed=True)
        _, _, stop = header(der, stop, end)  # signature
        begin = stop
        _, _, stop = header(der, stop, end)  # issuer
        issuer = der[begin:stop]
        _, value, stop = header(der, stop, end)  # validity
        tag, first, second = header(der, value, stop)
        not_before = instant(tag, der[first:second])
        tag, first, second = header(der, second, stop)
        not_after = instant(tag, der[first:second])
    except (Unreadable, ValueError, IndexError):
        return None
    return Skimmed(serial, issuer_tag(issuer), not_before, not_after)


def issuer_tag(name_der: bytes) -> str:
    found = _tags.get(name_der)
    if found is None:
        if len(_tags) >= _MOST_TAGS:
            _tags.clear()
        found = _tags[name_der] = sha256(name_der).digest()[:8].hex()
    return found
