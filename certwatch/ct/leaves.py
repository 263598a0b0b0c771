"""Entries of logs: MerkleTreeLeaf (RFC 6962, 3.4), TileLeaf (C2SP static-ct-api), and what stands beside them."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from certwatch.ct.malformed import Malformed

X509, PRECERT = 0, 1
#: Of an entry in a data tile: its type, and the length of what follows if that is a certificate; and any other length.
_ENTRY, _LENGTH = struct.Struct(">8xHBH"), struct.Struct(">BH")
#: In front of a certificate: version, leaf type, timestamp, entry type; the issuer's key in front of a TBS.
_BEFORE_X509, _BEFORE_TBS = 12, 44
LEAF_PREFIX = b"\0\0"
TILE = 256
MAX_CHAIN = 100
MAX_ISSUERS = 100
#: 9999-12-31.
_MAX_TIMESTAMP = 253402300799999


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a leaf says: all of it is hashed into the tree."""

    #: Milliseconds since 1970.
    timestamp: int
    is_precertificate: bool
    #: SHA-256 of the issuer's SubjectPublicKeyInfo. None: it is a certificate.
    issuer_key_hash: bytes | None
    #: DER: the certificate, or the TBSCertificate of a precertificate without the poison.
    certificate: bytes
    extensions: bytes

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(min(self.timestamp, _MAX_TIMESTAMP) / 1000, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What a log has beside a leaf: not hashed into the tree, so that it proves nothing by itself."""

    #: DER. None: the entry is a certificate.
    precertificate: bytes | None
    #: Issuers' certificates, DER.
    chain: tuple[bytes, ...] = ()
    #: Issuers by SHA-256, in a data tile.
    issuers: tuple[bytes, ...] = ()


def parse_leaf(leaf: bytes) -> Entry:
    """Raises Malformed."""
    if len(leaf) < _BEFORE_X509 or leaf[:2] != LEAF_PREFIX:
        raise Malformed("a leaf of another version or type than v1 and timestamped entry")
    kind = int.from_bytes(leaf[10:12], "big")
    if kind not in (X509, PRECERT):
        raise Malformed(f"an entry of type {kind}")
    start = _BEFORE_X509 if kind == X509 else _BEFORE_TBS
    certificate, position = _vector(leaf, start, 3, "a certificate")
    extensions, position = _vector(leaf, position, 2, "extensions")
    if position != len(leaf):
        raise Malformed(f"{len(leaf) - position} bytes behind a leaf's end")
    return Entry(
        timestamp=int.from_bytes(leaf[2:10], "big"),
        is_precertificate=kind == PRECERT,
        issuer_key_hash=leaf[12:44] if kind == PRECERT else None,
        certificate=certificate,
        extensions=extensions,
    )


def certificate_span(leaf: bytes) -> tuple[int, int]:
    """Where the certificate, or TBS, begins and ends, for whoever needs nothing else. Whatever the leaf is: the end is its end
    if it is cut off."""
    start = _BEFORE_TBS if leaf[10:12] == b"\0\1" else _BEFORE_X509
    return start + 3, start + 3 + int.from_bytes(leaf[start : start + 3], "big")


def parse_extensions(data: bytes) -> dict[int, bytes]:
    """CtExtensions, of leaves and of SCTs (C2SP static-ct-api, "Extensions"); unknown types are kept. Raises Malformed."""
    found: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        kind = data[position]
        value, position = _vector(data, position + 1, 2, "an extension")
        if kind in found:
            raise Malformed(f"extension {kind} twice")
        found[kind] = value
    return found


def leaf_index(extensions: bytes) -> int | None:
    """None: there is none. Raises Malformed."""
    value = parse_extensions(extensions).get(0)
    if value is None:
        return None
    if len(value) != 5:
        raise Malformed(f"a leaf index of {len(value)} bytes")
    return int.from_bytes(value, "big")


def leaf_index_extension(index: int) -> bytes:
    return b"\0\0\5" + index.to_bytes(5, "big")


def parse_extra_data(data: bytes, *, is_precertificate: bool) -> Beside:
    """`extra_data` of `get-entries` (RFC 6962, 4.6). Raises Malformed."""
    precertificate, position = None, 0
    if is_precertificate:
        precertificate, position = _vector(data, 0, 3, "a precertificate")
    chain, position = _vector(data, position, 3, "a chain")
    if position != len(data):
        raise Malformed(f"{len(data) - position} bytes behind the chain")
    certificates: list[bytes] = []
    position = 0
    while position < len(chain):
        certificate, position = _vector(chain, position, 3, "a certificate of a chain")
        certificates.append(certificate)
        if len(certificates) > MAX_CHAIN:
            raise Malformed(f"a chain of more than {MAX_CHAIN}")
    return Beside(precertificate=precertificate, chain=tuple(certificates))


def split_tile(data: bytes, most: int = TILE) -> tuple[list[bytes], list[int]]:
    """The leaves of a data tile, and where each one's rest begins, with the tile's end as the last: `tile_beside` reads it.
    Raises Malformed: cut off, or more than `most`."""
    leaves: list[bytes] = []
    spans: list[int] = []
    position, end = 0, len(data)
    # In place for speed: an entry is timestamp, type, perhaps the issuer's key, certificate, extensions.
    head, length = _ENTRY.unpack_from, _LENGTH.unpack_from
    try:
        while position < end:
            start = position
            kind, high, low = head(data, position)
            if kind == 1:
                high, low = length(data, position + 42)
                position += 45 + (high << 16) + low
            elif kind == 0:
                position += 13 + (high << 16) + low
            else:
                raise Malformed(f"entry {len(leaves)} of a data tile is of no known type")
            position += 2 + (data[position] << 8) + data[position + 1]
            if position > end:
                raise IndexError
            leaves.append(b"\0\0" + data[start:position])
            spans.append(position)
            if kind:
                high, low = length(data, position)
                position += 3 + (high << 16) + low
            position += 2 + (data[position] << 8) + data[position + 1]
            if position > end:
                raise IndexError
            if len(leaves) > most:
                raise Malformed(f"a data tile of more than {most} entries")
    except (struct.error, IndexError) as error:
        raise Malformed(f"a data tile breaks off in entry {len(spans)}") from error
    spans.append(end)
    return leaves, spans


def tile_beside(data: bytes, position: int, *, is_precertificate: bool) -> Beside:
    """What follows a leaf in a data tile. Raises Malformed."""
    precertificate = None
    if is_precertificate:
        precertificate, position = _vector(data, position, 3, "a precertificate")
    fingerprints, _ = _vector(data, position, 2, "fingerprints")
    if len(fingerprints) % 32 or len(fingerprints) > 32 * MAX_ISSUERS:
        raise Malformed(f"{len(fingerprints)} bytes of fingerprints")
    issuers = tuple(fingerprints[each : each + 32] for each in range(0, len(fingerprints), 32))
    return Beside(precertificate=precertificate, issuers=issuers)


def _vector(data: bytes, position: int, width: int, what: str) -> tuple[bytes, int]:
    """An opaque vector with a length of `width` bytes, and where it ends."""
    start = position + width
    end = start + int.from_bytes(data[position:start], "big")
    if start > len(data) or end > len(data):
        raise Malformed(f"{what} is cut off")
    return data[start:end], end


def make_leaf(
    certificate: bytes, timestamp: int, *, issuer_key_hash: bytes | None = None, extensions: bytes = b""
) -> bytes:
    """MerkleTreeLeaf; the same bytes are what an SCT signs (RFC 6962, 3.2)."""
    kind = b"\0\0" if issuer_key_hash is None else b"\0\1" + issuer_key_hash
    return b"".join(
        (
            LEAF_PREFIX,
            timestamp.to_bytes(8, "big"),
            kind,
            len(certificate).to_bytes(3, "big"),
            certificate,
            len(extensions).to_bytes(2, "big"),
            extensions,
        )
    )


def join_chain(certificates: Sequence[bytes]) -> bytes:
    """As `extra_data` has it."""
    chain = b"".join(len(each).to_bytes(3, "big") + each for each in certificates)
    return len(chain).to_bytes(3, "big") + chain
