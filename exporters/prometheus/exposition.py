"""Bytes of the exposition formats, kept ready: text 0.0.4 and OpenMetrics 1.0 differ in their headers only."""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from functools import cache

from exporters.prometheus.families import Family

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

#: Longer label values are cut, and told apart by a hash at their end.
MAX_VALUE = 1000
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def escape(value: str) -> str:
    if len(value) > MAX_VALUE:
        digest = hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:16]
        value = f"{value[:MAX_VALUE]}…{digest}"
    if "\\" in value or '"' in value or "\n" in value:
        return value.translate(_ESCAPES)
    return value


def line(family: Family, values: Iterable[str], value: float | int) -> bytes:
    """One sample. Empty label values are left out: to Prometheus they are the same as absent."""
    labels = ",".join(
        f'{name}="{escape(each)}"' for name, each in zip(family.labels, values, strict=True) if each
    )
    shown = value if isinstance(value, int) else f"{value:.17g}"
    return f"{family.name}{{{labels}}} {shown}\n".encode("utf-8", "replace")


class Piece:
    """Text of the page, and the same compressed: raw deflate that ends on a byte and refers to nothing before it, so
    that pieces made at different times follow one another in one stream (RFC 1951, 3.2.4; zlib's full flush)."""

    __slots__ = ("_deflated", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._deflated: bytes | None = None

    @property
    def deflated(self) -> bytes:
        """Made when it is first asked for, and kept."""
        if self._deflated is None:
            packer = zlib.compressobj(1, zlib.DEFLATED, -15)
            self._deflated = packer.compress(self.text) + packer.flush(zlib.Z_FULL_FLUSH)
        return self._deflated


@cache
def head(family: Family, *, openmetrics: bool) -> Piece:
    name = family.name
    kind = "counter" if family.type == "counter" else "gauge"
    if openmetrics and family.type == "counter":
        name = name.removesuffix("_total")
    elif openmetrics and family.type == "info":
        name, kind = name.removesuffix("_info"), "info"
    return Piece(f"# HELP {name} {family.help}\n# TYPE {name} {kind}\n".encode())


def gzipped(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """One gzip stream (RFC 1952) of pieces that are compressed already; only their checksum is computed here."""
    yield b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
    checksum = size = 0
    for each in pieces:
        checksum = zlib.crc32(each.text, checksum)
        size += len(each.text)
        yield each.deflated
    # An empty last block, then checksum and size of all that it unpacks to.
    yield b"\x03\x00" + struct.pack("<II", checksum, size & 0xFFFFFFFF)


class Buckets:
    """Samples of one family, by key, in buckets whose bytes are kept: a change costs its own bucket anew.

    Owned by one thread at a time: the one that builds it, then the event loop.
    """

    __slots__ = ("_dirty", "_pieces", "_samples")

    def __init__(self) -> None:
        self._samples: dict[int, dict[object, bytes]] = {}
        self._pieces: dict[int, Piece] = {}
        self._dirty: set[int] = set()

    def put(self, bucket: int, key: object, samples: bytes) -> None:
        """Set, or with no samples remove, what a key contributes."""
        held = self._samples.setdefault(bucket, {})
        if held.get(key, b"") == samples:
            return
        if samples:
            held[key] = samples
        else:
            del held[key]
        self._dirty.add(bucket)

    def render(self) -> None:
        """Make the bytes of what changed."""
        for bucket in self._dirty:
            text = b"".join(self._samples[bucket].values())
            if text:
                self._pieces[bucket] = Piece(text)
            else:
                del self._samples[bucket]
                self._pieces.pop(bucket, None)
        self._dirty.clear()

    def pieces(self) -> list[Piece]:
        """As of the last `render`."""
        return list(self._pieces.values())
