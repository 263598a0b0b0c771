"""Values as databases have them: certificates, instants, in all the ways that they are written."""

import base64
import binascii
from collections.abc import Callable
from datetime import UTC, date, datetime

from certwatch.model.observation import LookError
from certwatch.x509 import pem
from collectors.ca_database.record import of_epoch

#: Larger is no certificate.
MAX_BYTES = 1 << 20
_BYTES = (bytes, bytearray, memoryview)
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


def to_bytes(value: object) -> bytes:
    if isinstance(value, _BYTES):
        return bytes(value)
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else b""


def to_der(value: object, where: str | Callable[[], str]) -> tuple[bytes | None, LookError | None]:
    """A certificate from DER, PEM or bare base64. Nothing there: neither certificate nor error. `where`: for the message."""
    data = value if isinstance(value, bytes) else to_bytes(value)
    if not data:
        return None, None
    if len(data) <= MAX_BYTES:
        if data[0] == 0x30:
            return data, None
        found = _plain_pem(data)
        if found is not None:
            return found, None
        if b"-----BEGIN" in data:
            for block in pem.blocks(data):
                if block.is_certificate and block.data:
                    return block.data, None
        else:
            try:
                decoded = base64.b64decode(b"".join(data.split()), validate=True)
            except (binascii.Error, ValueError):
                decoded = b""
            if decoded[:1] == b"\x30":
                return decoded, None
    place = where if isinstance(where, str) else where()
    message = (
        f"{place}: what stands for the certificate is neither DER nor PEM. Have the CA's database looked at"
    )
    return None, LookError(kind="malformed", message=message)


def _plain_pem(data: bytes) -> bytes | None:
    """One certificate and nothing else, as CAs write it: a sixth of the time that any PEM takes. None: something else."""
    text = data.strip()
    if not (text.startswith(_BEGIN) and text.endswith(_END)):
        return None
    try:
        decoded = binascii.a2b_base64(
            text[len(_BEGIN) : -len(_END)].translate(None, b"\r\n"), strict_mode=True
        )
    except binascii.Error:
        return None
    return decoded if decoded[:1] == b"\x30" else None


def to_instant(value: object) -> datetime | None:
    """Aware UTC, from a timestamp, a date, a text, or a number since 1970: seconds, or milliseconds where these would be
    the year 5138 and later. None: nothing, a zero of its kind ("0000-00-00", year 1, minus one), or not to be read."""
    if isinstance(value, datetime) and value.tzinfo is UTC:
        return value if value.year > 1 else None
    if isinstance(value, _BYTES):
        value = bytes(value).decode("ascii", "replace")
    if isinstance(value, str):
        value = _of_text(value.strip())
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        if not 0 < value < 1e15:
            return None
        return of_epoch(value / 1000 if value >= 1e11 else value)
    if isinstance(value, datetime):
        try:
            found = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        except (ValueError, OverflowError):
            return None
        return found if found.year > 1 else None
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC) if value.year > 1 else None
    return None


def _of_text(text: str) -> datetime | float | None:
    if text.isascii() and text.isdigit() and len(text) < 15:
        return float(text)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    # Go writes "2026-11-24 02:49:24 +0000 UTC", with a fraction of nine digits.
    words = text.split()
    if len(words) >= 3 and len(words[2]) == 5:
        try:
            return datetime.fromisoformat(f"{words[0]} {words[1][:15]}{words[2]}")
        except ValueError:
            return None
    return None


def to_text(value: object) -> str | None:
    """None: nothing, or nothing but blanks."""
    if value is None:
        return None
    text = bytes(value).decode("utf-8", "replace") if isinstance(value, _BYTES) else str(value)
    return text.strip() or None
