"""Of a certificate what it is looked up and sorted by, in a quarter of the time that reading all of it takes: for who records
many of them.

A certificate of the usual form (RFC 5280, 4.1, in DER as every CA writes it) is walked once by its offsets. Anything else goes
the long way, over `der.read`, with which this agrees on any bytes.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from certwatch.model.certificate import Certificate, Name
from certwatch.x509.der import MAX_BYTES, read
from certwatch.x509.extensions import CT_POISON, MAX_NAMES, SCT_LIST
from certwatch.x509.names import distinguished_name, general_name
from certwatch.x509.tlv import Unreadable, encode

_ALTERNATIVE_NAMES = bytes.fromhex("551d11")
_COMMON_NAME = bytes.fromhex("0603550403")
#: Of a Name with a common name alone: what `names` would escape is none of it.
_PLAIN = re.compile(rb"[A-Za-z0-9.*_-]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Outline(NamedTuple):
    """Fields as those of `Certificate`."""

    #: `Certificate.serial_hex`.
    serial: str
    spki_sha256: bytes | None
    tbs_sha256: bytes | None
    #: Seconds since 1970. None: unreadable.
    not_before: int | None
    not_after: int | None
    subject: str
    issuer: str
    names: tuple[Name, ...]


def outline(der: bytes) -> Outline:
    """Never raises, on any bytes."""
    try:
        found = _usual(der)
    except (Unusual, Unreadable, IndexError):
        found = None
    return found if found is not None else outline_of(read(der))


def outline_of(certificate: Certificate) -> Outline:
    return Outline(
        certificate.serial_hex,
        certificate.spki_sha256,
        certificate.tbs_sha256,
        _since_epoch(certificate.not_before),
        _since_epoch(certificate.not_after),
        certificate.subject,
        certificate.issuer,
        certificate.names,
    )


def _since_epoch(instant: datetime | None) -> int | None:
    return None if instant is None else int((instant - _EPOCH).total_seconds())


class Unusual(Exception):
    """Not of the form that is walked here."""


def beginning(der: bytes) -> tuple[bytes, bytes, int, int, int]:
    """Of a certificate of the usual form: serial number as its bytes, issuer's name, first and last second of validity since
    1970, and where the subject begins. Raises Unusual; IndexError: it ends before."""
    # Certificate and TBSCertificate of 256 bytes or more, version 3, a serial number that is no negative one.
    if der[0] != 0x30 or der[1] != 0x82 or der[4] != 0x30 or der[5] != 0x82 or len(der) > MAX_BYTES:
        raise Unusual
    end = 8 + (der[6] << 8 | der[7])
    if 4 + (der[2] << 8 | der[3]) != len(der) or end > len(der):
        raise Unusual
    if der[8:14] != b"\xa0\x03\x02\x01\x02\x02" or not 0 < der[14] < 0x80 or der[15] & 0x80:
        raise Unusual
    serial_end = 15 + der[14]
    start = _after(der, serial_end, 0x30)  # signature
    stop = _after(der, start, 0x30)
    # Two times of UTCTime, to the second and in UTC.
    if (
        stop + 32 > end
        or der[stop : stop + 4] != b"\x30\x1e\x17\x0d"
        or der[stop + 17 : stop + 19] != b"\x17\x0d"
    ):
        raise Unusual
    return (
        der[15:serial_end],
        der[start:stop],
        _utc_time(der[stop + 4 : stop + 17]),
        _utc_time(der[stop + 19 : stop + 32]),
        stop + 32,
    )


def _usual(der: bytes) -> Outline:
    """Raises Unusual, and what reading its parts raises."""
    serial, issuer, not_before, not_after, start = beginning(der)
    stop = _after(der, start, 0x30)
    subject = _name(der[start:stop])
    start = stop
    stop = _after(der, start, 0x30)
    spki = sha256(der[start:stop]).digest()
    names, tbs = _extensions(der, stop, 8 + (der[6] << 8 | der[7]))
    return Outline(
        serial.lstrip(b"\0").hex() or "00",
        spki,
        tbs,
        not_before,
        not_after,
        subject,
        distinguished_name(issuer),
        names,
    )


def _after(der: bytes, position: int, tag: int) -> int:
    """Where the element with that tag ends that begins here. Raises Unusual."""
    if der[position] != tag:
        raise Unusual
    length = der[position + 1]
    if length < 0x80:
        return position + 2 + length
    if length == 0x81:
        return position + 3 + der[position + 2]
    if length == 0x82:
        return position + 4 + (der[position + 2] << 8 | der[position + 3])
    raise Unusual


def _into(der: bytes, position: int) -> int:
    """Where the value of that element begins."""
    length = der[position + 1]
    return position + 2 + (length & 0x7F if length & 0x80 else 0)


def _utc_time(text: bytes) -> int:
    """Raises Unusual."""
    if len(text) != 13 or text[12] != 0x5A or not text[:12].isdigit():
        raise Unusual
    # Digits are 48 and up: ten times the one and the other less 528.
    hour, minute, second = (
        text[6] * 10 + text[7] - 528,
        text[8] * 10 + text[9] - 528,
        text[10] * 10 + text[11] - 528,
    )
    if hour > 23 or minute > 59 or second > 59:
        raise Unusual
    return _day(text[:6]) + hour * 3600 + minute * 60 + second


@lru_cache(maxsize=8192)
def _day(text: bytes) -> int:
    """Seconds at its beginning. Raises Unusual."""
    year = int(text[:2])
    # RFC 5280, 4.1.2.5.1.
    year += 1900 if year >= 50 else 2000
    try:
        return int((datetime(year, int(text[2:4]), int(text[4:6]), tzinfo=UTC) - _EPOCH).total_seconds())
    except ValueError:
        raise Unusual from None


def _name(raw: bytes) -> str:
    """Raises Unreadable."""
    # SEQUENCE, SET, SEQUENCE, each of all the rest, and in it a common name as UTF8String or PrintableString.
    size = len(raw)
    if (
        size < 0x80
        and raw[6:11] == _COMMON_NAME
        and raw[0] == 0x30
        and raw[1] == size - 2
        and raw[2] == 0x31
        and raw[3] == size - 4
        and raw[4] == 0x30
        and raw[5] == size - 6
        and raw[11] in (0x0C, 0x13)
        and raw[12] == size - 13
        and _PLAIN.fullmatch(raw, 13)
    ):
        return "CN=" + raw[13:].decode("ascii")
    return distinguished_name(raw)


def _extensions(der: bytes, position: int, end: int) -> tuple[tuple[Name, ...], bytes]:
    """Alternative names, and the SHA-256 of the TBSCertificate without what Certificate Transparency adds (RFC 6962, 3.2).
    Raises Unusual, Unreadable."""
    outer = _into(der, position)
    if _after(der, position, 0xA3) != end or _after(der, outer, 0x30) != end:
        raise Unusual
    at = first = _into(der, outer)
    names: tuple[Name, ...] | None = None
    left_out: list[tuple[int, int]] = []
    while at < end:
        inside, stop = _into(der, at), _after(der, at, 0x30)
        value = inside + 2 + der[inside + 1]
        if der[inside] != 0x06 or der[inside + 1] >= 0x80 or not value <= stop <= end:
            raise Unusual
        identifier = der[inside + 2 : value]
        if identifier == _ALTERNATIVE_NAMES:
            if names is not None:
                raise Unusual
            names = _alternative_names(der, _value(der, value, stop), stop)
        elif identifier == SCT_LIST or identifier == CT_POISON:
            _value(der, value, stop)
            left_out.append((at, stop))
        at = stop
    if at != end or names is None:
        # Without alternative names the subject may speak for them.
        raise Unusual
    if not left_out:
        return names, sha256(memoryview(der)[4:end]).digest()
    kept = b""
    for start, stop in left_out:
        kept += der[first:start]
        first = stop
    kept += der[first:end]
    return names, sha256(encode(0x30, der[8:position] + encode(0xA3, encode(0x30, kept)))).digest()


def _value(der: bytes, position: int, stop: int) -> int:
    """Where the content of an extension begins whose identifier ends here. Raises Unusual."""
    if der[position] == 0x01 and der[position + 1] == 1:  # critical
        position += 3
    if _after(der, position, 0x04) != stop:
        raise Unusual
    return _into(der, position)


def _alternative_names(der: bytes, position: int, stop: int) -> tuple[Name, ...]:
    """Raises Unusual, Unreadable."""
    if _after(der, position, 0x30) != stop:
        raise Unusual
    position = _into(der, position)
    names = []
    while position < stop:
        tag, length = der[position], der[position + 1]
        start = position + 2
        position = start + length
        if length >= 0x80 or position > stop or tag & 0x1F == 0x1F:
            raise Unusual
        if tag == 0x82 and _PLAIN.fullmatch(der, start, position):
            names.append(Name("dns:" + der[start:position].decode("ascii").lower()))
        else:
            names.append(general_name(tag, der[start:position]))
    if len(names) > MAX_NAMES:
        raise Unusual
    return tuple(names)
