"""ACME Renewal Information (RFC 9773): when a CA wants a certificate to be replaced. Readable without an account. Pure."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from certwatch.model.certificate import Certificate

MAX_TEXT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    start: datetime
    end: datetime
    #: Where the CA says why. Empty: it does not.
    explanation_url: str


class _Suggested(msgspec.Struct):
    start: datetime
    end: datetime


class _RenewalInfo(msgspec.Struct, rename="camel"):
    suggested_window: _Suggested
    explanation_url: str = msgspec.field(default="", name="explanationURL")


class _Directory(msgspec.Struct, rename="camel"):
    renewal_info: str = ""


_renewal_info = msgspec.json.Decoder(_RenewalInfo)
_directory = msgspec.json.Decoder(_Directory)


def certificate_id(certificate: Certificate) -> str | None:
    """RFC 9773, 4.1: base64url of the authority's key identifier, and of the serial's content octets. None: one of the two is
    not there."""
    serial, key = certificate.serial_number, certificate.authority_key_id
    if serial is None or serial < 0 or not key:
        return None
    # DER (X.690, 8.3): as short as can be, and a zero in front where the first bit would make it negative.
    octets = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{_base64url(key)}.{_base64url(octets)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def read_directory(body: bytes) -> str:
    """The base of its renewal information. Empty: it offers none. Raises ValueError."""
    return _directory.decode(body).renewal_info


def read_window(body: bytes) -> Window:
    """Raises ValueError: no answer as RFC 9773, 4.2 has it, or a window that ends before it starts."""
    read = _renewal_info.decode(body)
    start, end = read.suggested_window.start, read.suggested_window.end
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("an instant without a time zone")
    if end <= start:
        raise ValueError("the window ends before it starts")
    explanation = "".join(each for each in read.explanation_url if each.isprintable())[:MAX_TEXT]
    return Window(start=start.astimezone(UTC), end=end.astimezone(UTC), explanation_url=explanation)
