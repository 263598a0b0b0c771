"""Blocks of PEM (RFC 7468) in any bytes: many in one file, mixed with keys, CRLs and stray text. Linear, no I/O."""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from certwatch.x509.tlv import Unreadable, header

_BEGIN = b"-----BEGIN "
_DASHES = b"-----"
_CERTIFICATE_LABELS = frozenset({"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"})
_KEY_LABELS = frozenset(
    {"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"}
)
#: Longer blocks are decoded so many bytes at a time.
_PIECE = 1 << 20
#: Base64 that is padded or broken across lines oddly is taken; what is no base64 at all is not.
_BLANKS = b" \t\r\n\v\f"
_HEADER_LINE = re.compile(rb"\s*[A-Za-z0-9-]+:[^\n]*\n(?:[ \t][^\n]*\n)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    #: What stands after BEGIN: "CERTIFICATE", "PRIVATE KEY", …
    label: str
    #: Line of its BEGIN, from 1.
    line: int
    #: What is inside. Empty: damaged.
    data: bytes
    #: Of a key the whole block as it stands, with its own BEGIN and END, since its headers matter. Else empty.
    pem: bytes
    #: Why it is damaged, one sentence. None: it is not.
    problem: str | None = None

    @property
    def is_certificate(self) -> bool:
        return self.label in _CERTIFICATE_LABELS

    @property
    def is_private_key(self) -> bool:
        return self.label in _KEY_LABELS


def encode(der: bytes) -> str:
    """A certificate as a block (RFC 7468, 5.1)."""
    text = base64.b64encode(der).decode()
    lines = "".join(f"{text[at : at + 64]}\n" for at in range(0, len(text), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n"


def blocks(data: bytes) -> Iterator[Block]:
    """Every block, in order; damaged ones too, each with its reason. Never raises."""
    position, line, counted = 0, 1, 0
    end_marker = -1
    while (begin := data.find(_BEGIN, position)) >= 0:
        line += data.count(b"\n", counted, begin)
        counted = begin
        label_end = data.find(_DASHES, begin + len(_BEGIN), begin + len(_BEGIN) + 80)
        if label_end < 0 or b"\n" in data[begin:label_end]:
            position = begin + len(_BEGIN)
            continue
        label = data[begin + len(_BEGIN) : label_end].decode("ascii", "replace").strip()
        body = label_end + len(_DASHES)
        # Searched once for all blocks before it, so that a file of nothing but BEGINs stays linear.
        if end_marker < body and end_marker != len(data):
            found = data.find(b"-----END ", body)
            end_marker = found if found >= 0 else len(data)
        following = data.find(_BEGIN, body, end_marker)
        if end_marker == len(data) or following >= 0:
            yield _damaged(label, line, "has no END line: it is cut off")
            position = following if following >= 0 else body
            continue
        end_label_end = data.find(_DASHES, end_marker + 9, end_marker + 9 + 80)
        stop = end_label_end + len(_DASHES) if end_label_end >= 0 else end_marker + 9
        end_label = (
            data[end_marker + 9 : end_label_end].decode("ascii", "replace").strip()
            if end_label_end >= 0
            else ""
        )
        position = stop
        if end_label != label:
            yield _damaged(label, line, f"ends as {end_label[:40]!r}")
            continue
        if end_marker - body > _PIECE and _HEADER_LINE.match(data, body) is None:
            yield _large_block(label, line, memoryview(data)[body:end_marker])
            continue
        is_key = label in _KEY_LABELS
        yield _block(label, line, data[body:end_marker], data[begin:stop] if is_key else b"")


def _large_block(label: str, line: int, body: memoryview) -> Block:
    """As `_block`, for what has many megabytes (a CRL) and no header lines: a piece at a time, so that it neither takes
    several times its size nor keeps the interpreter's lock for long."""
    decoded: list[bytes] = []
    rest, ended = b"", False
    for start in range(0, len(body), _PIECE):
        packed = rest + bytes(body[start : start + _PIECE]).translate(None, _BLANKS)
        # Padding that was lost in a copy is put back.
        last = start + _PIECE >= len(body)
        whole = len(packed) if last else len(packed) // 4 * 4
        if ended and packed:
            return _damaged(label, line, "is not base64")
        try:
            decoded.append(base64.b64decode(packed[:whole] + b"=" * (-whole % 4), validate=True))
        except (binascii.Error, ValueError):
            return _damaged(label, line, "is not base64")
        ended = packed[:whole].endswith(b"=")
        rest = packed[whole:]
    return Block(label=label, line=line, data=b"".join(decoded), pem=b"")


def _block(label: str, line: int, body: bytes, pem: bytes) -> Block:
    inside = body.lstrip(b"\r\n")
    while (found := _HEADER_LINE.match(inside)) is not None:
        inside = inside[found.end() :]
    packed = inside.translate(None, _BLANKS)
    try:
        # Padding that was lost in a copy is put back.
        data = base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        return _damaged(label, line, "is not base64")
    if not data:
        return _damaged(label, line, "is empty")
    if label == "TRUSTED CERTIFICATE":
        data = _without_auxiliary(data)
    return Block(label=label, line=line, data=data, pem=pem)


def _damaged(label: str, line: int, why: str) -> Block:
    shown = label if label.isprintable() else repr(label)
    return Block(label=label, line=line, data=b"", pem=b"", problem=f"{shown} at line {line} {why}")


def _without_auxiliary(data: bytes) -> bytes:
    """OpenSSL's trusted certificates carry their trust settings after the certificate."""
    try:
        _, _, stop = header(data, 0, len(data))
    except Unreadable:
        return data
    return data[:stop]
