"""Entries of a revocation list (RFC 5280, 5.1.2.6), written one after the other, without an object for each.

The library's builder wants an object for each entry: a million of them take half a minute and two thirds of a GiB. An entry is a number,
a time and one of eight reasons, so it is written here; what encodes reasons and all the rest of the list is the library, which
reads the result as well (`crl.build`)."""

import time
from collections.abc import Iterable
from functools import lru_cache

from cryptography import x509

from certwatch.x509.tlv import encode

#: Serial number, when (microseconds), reason.
Revoked = tuple[bytes, int, str]

#: RFC 5280, 5.3.1, in the words of the command line.
REASONS: dict[str, x509.ReasonFlags] = {
    "unspecified": x509.ReasonFlags.unspecified,
    "key-compromise": x509.ReasonFlags.key_compromise,
    "ca-compromise": x509.ReasonFlags.ca_compromise,
    "affiliation-changed": x509.ReasonFlags.affiliation_changed,
    "superseded": x509.ReasonFlags.superseded,
    "cessation-of-operation": x509.ReasonFlags.cessation_of_operation,
    "privilege-withdrawn": x509.ReasonFlags.privilege_withdrawn,
}
_SEQUENCE, _OCTETS, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0x04, 0x17, 0x18
#: OBJECT IDENTIFIER 2.5.29.21, reasonCode.
_REASON_CODE = b"\x06\x03\x55\x1d\x15"
_DAY = 86_400
#: 2050-01-01: from then on times have four digits of the year (RFC 5280, 5.1.2.6).
_FOUR_DIGITS = 2_524_608_000


class Entries:
    """Fed with rows in their order; `data` is what stands in the list."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.count = 0
        self.first: Revoked | None = None
        self.last: Revoked | None = None

    def add(self, revoked: Iterable[Revoked]) -> None:
        data, count, row = self.data, self.count, self.last
        for row in revoked:
            serial, at, reason = row
            number = serial.lstrip(b"\0")
            if not number or number[0] & 0x80:
                number = b"\0" + number
            day, seconds = divmod(at // 1_000_000, _DAY)
            minutes, seconds = divmod(seconds, 60)
            # Every part is shorter than 128 bytes, and all of them together.
            content = b"\x02%c%b%b%02d%02d%02dZ%b" % (
                len(number), number, _day(day), minutes // 60, minutes % 60, seconds, _reason(reason),
            )  # fmt: skip
            data += b"\x30%c%b" % (len(content), content)
            if not count:
                self.first = row
            count += 1
        self.count, self.last = count, row


@lru_cache(4096)
def _day(day: int) -> bytes:
    """Tag, length and date of a time on that day (since 1970)."""
    if day * _DAY < _FOUR_DIGITS:
        return bytes((_UTC_TIME, 13)) + time.strftime("%y%m%d", time.gmtime(day * _DAY)).encode()
    return bytes((_GENERALIZED_TIME, 15)) + time.strftime("%Y%m%d", time.gmtime(day * _DAY)).encode()


@lru_cache(16)
def _reason(reason: str) -> bytes:
    """The entry's extensions; none where nothing is said (RFC 5280, 5.3.1)."""
    if reason == "unspecified":
        return b""
    value = x509.CRLReason(REASONS[reason]).public_bytes()
    return encode(_SEQUENCE, encode(_SEQUENCE, _REASON_CODE + encode(_OCTETS, value)))
