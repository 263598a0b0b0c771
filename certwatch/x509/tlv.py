"""Tag, length, value: as much of DER (X.690) as reading certificates needs."""

from functools import lru_cache


class Unreadable(Exception):
    """These bytes are not what they should be. The message says what was found."""


def header(data: bytes, position: int, end: int, *, truncated: bool = False) -> tuple[int, int, int]:
    """Tag, and where the value begins and ends. With `truncated`, a value that goes beyond `end` is let pass."""
    if position + 2 > end:
        raise Unreadable("ends in the middle of an element")
    tag = data[position]
    if tag & 0x1F == 0x1F:
        raise Unreadable("a tag of more than one byte")
    length = data[position + 1]
    start = position + 2
    if length >= 0x80:
        count = length & 0x7F
        # 0x80 alone is BER's indefinite length; four bytes are more than any certificate has.
        if not 0 < count <= 4:
            raise Unreadable(f"a length of {count} bytes")
        length = int.from_bytes(data[start : start + count], "big")
        start += count
    stop = start + length
    if stop > end and not truncated:
        raise Unreadable(f"an element is cut off: {stop - end} bytes are missing")
    return tag, start, stop


def expect(data: bytes, tag: int, what: str) -> bytes:
    """The value of the one element with that tag that begins here. `what`: for the message."""
    found, start, stop = header(data, 0, len(data))
    if found != tag:
        raise Unreadable(f"tag {found:#04x} instead of {what}")
    return data[start:stop]


def children(data: bytes) -> list[tuple[int, bytes]]:
    """Tag and value of every element, one after the other."""
    found = []
    position, end = 0, len(data)
    while position < end:
        # Short elements are nearly all there are: `header` in place, for speed.
        if position + 2 <= end and data[position + 1] < 0x80 and data[position] & 0x1F != 0x1F:
            tag = data[position]
            start = position + 2
            stop = start + data[position + 1]
            if stop > end:
                raise Unreadable(f"an element is cut off: {stop - end} bytes are missing")
        else:
            tag, start, stop = header(data, position, end)
        found.append((tag, data[start:stop]))
        position = stop
    return found


@lru_cache(maxsize=4096)
def object_identifier(value: bytes) -> str:
    """Dotted form of an OBJECT IDENTIFIER's value (X.690, 8.19)."""
    if not value or value[-1] & 0x80 or len(value) > 64:
        raise Unreadable("not an OBJECT IDENTIFIER")
    arcs: list[int] = []
    arc = 0
    for byte in value:
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(str(each) for each in (first, arcs[0] - 40 * first, *arcs[1:]))


def encode(tag: int, value: bytes | bytearray) -> bytes:
    length = len(value)
    if length < 0x80:
        return bytes((tag, length)) + value
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + value
