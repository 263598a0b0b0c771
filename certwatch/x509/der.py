"""DER to `Certificate`, tolerant: one road for good and bad certificates alike.

Strict parsers refuse a certificate whole for one odd field, and an inventory that leaves out the odd ones leaves out
what matters. This reader walks the structure of RFC 5280, 4.1, takes every part by itself, and names what it could
not read. It verifies nothing. Cost is linear in the size; nothing recurses.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import TypeVar

from certwatch.model.certificate import Certificate, Fingerprint, Name, PublicKey
from certwatch.x509 import extensions
from certwatch.x509.keys import read_public_key, signature_name
from certwatch.x509.names import common_names, distinguished_name, dns_name
from certwatch.x509.tlv import Unreadable, children, encode, expect, header

T = TypeVar("T")

#: No certificate is larger; what is beyond it is not looked at.
MAX_BYTES = 1 << 20

_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18


def fingerprint(der: bytes) -> Fingerprint:
    return Fingerprint(hashlib.sha256(der).digest())


@dataclass(slots=True)
class _Parts:
    """Raw slices of the TBSCertificate, each with its tag and length. None: not there, or not reached."""

    tbs: bytes | None = None
    serial: bytes | None = None
    signature: bytes | None = None
    issuer: bytes | None = None
    validity: bytes | None = None
    subject: bytes | None = None
    public_key: bytes | None = None
    #: The value of [3], and how long the TBS's content before it is.
    extensions: bytes | None = None
    before_extensions: bytes = b""
    problems: list[str] = field(default_factory=list)


def read(der: bytes) -> Certificate:
    """Never raises, on any bytes. See `Certificate` for what None and empty mean."""
    parts = _split(der)
    problems = parts.problems
    unknown: tuple[datetime | None, datetime | None] = (None, None)
    not_before, not_after = _part(problems, "validity", _validity, parts.validity, unknown)
    subject = _part(problems, "subject", distinguished_name, parts.subject, "")
    found = extensions.Extensions()
    if parts.extensions is not None:
        found = extensions.read(parts.extensions)
        problems += found.problems
    names, from_common_name = found.names, False
    if not found.has_alternative_names and parts.subject is not None and not found.is_ca:
        names = _part(problems, "subject", _names_of_subject, parts.subject, ())
        from_common_name = bool(names)
    return Certificate(
        der=der,
        fingerprint_sha256=fingerprint(der),
        spki_sha256=hashlib.sha256(parts.public_key).digest() if parts.public_key is not None else None,
        tbs_sha256=_tbs_sha256(parts, found),
        subject=subject,
        issuer=_part(problems, "issuer", distinguished_name, parts.issuer, ""),
        subject_der=parts.subject,
        issuer_der=parts.issuer,
        serial_number=_part(problems, "serial number", _integer, parts.serial, None),
        not_before=not_before,
        not_after=not_after,
        names=names,
        names_from_common_name=from_common_name,
        key=_part(
            problems, "public key", read_public_key, parts.public_key, PublicKey(type="unknown", bits=None)
        ),
        signature_algorithm=_part(problems, "signature algorithm", signature_name, parts.signature, ""),
        is_ca=found.is_ca,
        path_length=found.path_length,
        subject_key_id=found.subject_key_id,
        authority_key_id=found.authority_key_id,
        key_usage=found.key_usage,
        extended_key_usage=found.extended_key_usage,
        ocsp_urls=found.ocsp_urls,
        issuer_urls=found.issuer_urls,
        crl_urls=found.crl_urls,
        must_staple=found.must_staple,
        problems=tuple(dict.fromkeys(problems)),
    )


def _split(der: bytes) -> _Parts:
    parts = _Parts()
    data = der[:MAX_BYTES]
    if len(der) > MAX_BYTES:
        parts.problems.append(f"longer than {MAX_BYTES} bytes: only its beginning was read")
    try:
        start, end = _sequence(data, 0, len(data), "certificate", parts.problems)
        if end < len(data):
            parts.problems.append(f"{len(data) - end} bytes after the certificate's end")
        tbs_start, tbs_end = _sequence(data, start, end, "TBSCertificate", parts.problems)
        parts.tbs = data[start:tbs_end]
        _fields(data, tbs_start, tbs_end, parts)
    except Unreadable as error:
        parts.problems.append(f"structure: {error}")
    return parts


def _sequence(data: bytes, position: int, end: int, what: str, problems: list[str]) -> tuple[int, int]:
    """Content of a SEQUENCE that may have been cut off: what is there of it counts."""
    tag, start, stop = header(data, position, end, truncated=True)
    if tag != 0x30:
        raise Unreadable(f"{what} is not a SEQUENCE")
    if stop > end:
        problems.append(f"{what} is cut off: {stop - end} bytes are missing")
        stop = end
    return start, stop


def _fields(data: bytes, position: int, end: int, parts: _Parts) -> None:
    # version [0] may be left out: that says v1.
    first = position
    tag, _, stop = header(data, position, end)
    if tag == 0xA0:
        position = stop
    for name in ("serial", "signature", "issuer", "validity", "subject", "public_key"):
        _, _, stop = header(data, position, end)
        setattr(parts, name, data[position:stop])
        position = stop
    while position < end:
        tag, start, stop = header(data, position, end)
        if tag == 0xA3:
            parts.extensions = data[start:stop]
            parts.before_extensions = data[first:position]
            return
        position = stop


def _part(problems: list[str], what: str, reader: Callable[[bytes], T], raw: bytes | None, default: T) -> T:
    if raw is None:
        problems.append(f"{what}: missing")
        return default
    try:
        return reader(raw)
    except Unreadable as error:
        problems.append(f"{what}: {error}")
        return default


def _integer(raw: bytes) -> int | None:
    value = expect(raw, 0x02, "an INTEGER")
    if not value:
        raise Unreadable("empty INTEGER")
    return int.from_bytes(value, "big", signed=True)


def _validity(raw: bytes) -> tuple[datetime | None, datetime | None]:
    both = children(expect(raw, 0x30, "a SEQUENCE"))
    if len(both) != 2:
        raise Unreadable(f"{len(both)} instants instead of 2")
    return instant(*both[0]), instant(*both[1])


def instant(tag: int, value: bytes) -> datetime:
    """UTCTime or GeneralizedTime (RFC 5280, 4.1.2.5); with seconds left out or an offset as well, as X.680 has it."""
    # Nearly all there are, a fifth of the time that taking them apart needs. An hour of 24 some versions of Python take.
    if (
        tag == _UTC_TIME
        and len(value) == 13
        and value[12] == 0x5A
        and value[:12].isdigit()
        and value[6:8] < b"24"
    ):
        # Two-digit years: 50 and above are of the last century (4.1.2.5.1).
        century = "19" if value[0] >= 0x35 else "20"
        try:
            return datetime.fromisoformat(f"{century}{value[:6].decode()}T{value[6:].decode()}")
        except ValueError:
            pass  # a leap second, or no time at all: below
    text = value.decode("ascii", "replace")
    try:
        if tag == _UTC_TIME:
            text = ("19" if text[:2] >= "50" else "20") + text
        elif tag != _GENERALIZED_TIME:
            raise Unreadable(f"not a time (tag {tag:#x})")
        zone = UTC
        if text.endswith("Z"):
            text = text[:-1]
        elif text[-5:-4] in ("+", "-"):
            offset = timedelta(hours=int(text[-4:-2]), minutes=int(text[-2:]))
            zone = timezone(offset if text[-5] == "+" else -offset)
            text = text[:-5]
        text = text.partition(".")[0]
        if not (text.isascii() and text.isdigit()):
            raise ValueError
        seconds = int(text[12:14]) if len(text) == 14 else 0
        if len(text) not in (12, 14):
            raise ValueError
        # A leap second is the next one.
        extra = timedelta(seconds=1) if seconds == 60 else timedelta(0)
        moment = datetime(
            int(text[:4]),
            int(text[4:6]),
            int(text[6:8]),
            int(text[8:10]),
            int(text[10:12]),
            min(seconds, 59),
            tzinfo=zone,
        )
        return (moment + extra).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Unreadable(f"not a time: {value[:40]!r}") from error


def _names_of_subject(raw: bytes) -> tuple[Name, ...]:
    return tuple(dns_name(text.encode()) for text in common_names(raw) if text and " " not in text)


def _tbs_sha256(parts: _Parts, found: extensions.Extensions) -> bytes | None:
    """SHA-256 of the TBS; where the SCT list or the CT poison is in it, of the TBS without them (RFC 6962, 3.2)."""
    if parts.tbs is None:
        return None
    if found.kept_without_ct is None:
        return hashlib.sha256(parts.tbs).digest()
    content = parts.before_extensions
    if found.kept_without_ct:
        content += encode(0xA3, encode(0x30, found.kept_without_ct))
    return hashlib.sha256(encode(0x30, content)).digest()


def series(data: bytes) -> tuple[list[bytes], list[str]]:
    """Certificates that stand back to back in DER, and what is wrong with them, in words.

    Another structure (a key, a CRL) is no certificate: what comes after it is not looked at. Never raises."""
    chain: list[bytes] = []
    position = 0
    while position < len(data):
        try:
            _, _, stop = header(data, position, len(data), truncated=True)
        except Unreadable:
            break
        certificate = read(data[position:stop])
        if certificate.issuer_der is None or certificate.not_before is None:
            break
        chain.append(certificate.der)
        if stop > len(data):
            return chain, [f"certificate at byte {position} is cut off"]
        position = stop
    return chain, []
