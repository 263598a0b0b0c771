"""BER by offsets (X.690, 8): what containers are written in where certificates are DER.

Indefinite lengths and strings in pieces are BER's own; Windows, NSS and Bouncy Castle write both. Nothing is copied
before its content is asked for, nothing recurses, and every walk has a bound, since a container is as hostile as
what sent it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from certwatch.x509.tlv import Unreadable, object_identifier

#: Elements in one walk. The largest bundles known have a few thousand certificates.
MAX_ELEMENTS = 100_000
#: Indefinite lengths inside one another.
_MAX_DEPTH = 16
#: Pieces of pieces of strings.
_MAX_PIECES_DEPTH = 4

SEQUENCE, SET, OCTETS, INTEGER, OID = 0x30, 0x31, 0x04, 0x02, 0x06


@dataclass(frozen=True, slots=True)
class Element:
    """One element of `data`; positions count from the beginning of `data`."""

    data: bytes
    tag: int
    start: int
    #: The content's beginning and end.
    first: int
    end: int
    #: Behind the element: `end`, or behind the end-of-contents octets.
    after: int

    @property
    def raw(self) -> bytes:
        """Tag, length and content."""
        return self.data[self.start : self.after]

    @property
    def content(self) -> bytes:
        return self.data[self.first : self.end]

    def children(self) -> Iterator["Element"]:
        """One after the other. Raises Unreadable where the next one cannot be read."""
        return elements(self.data, self.first, self.end)

    def expect(self, tag: int, what: str) -> "Element":
        """Itself, if it has that tag. `what`: for the message."""
        if self.tag != tag:
            raise Unreadable(f"tag {self.tag:#04x} at byte {self.start} instead of {what}")
        return self


def element(data: bytes, start: int = 0, end: int | None = None) -> Element:
    """The element that begins at `start` and stays before `end`. Raises Unreadable."""
    stop = len(data) if end is None else end
    tag, first, length = _header(data, start, stop)
    if length is not None:
        if first + length > stop:
            raise Unreadable(
                f"the element at byte {start} is cut off: {first + length - stop} bytes are missing"
            )
        return Element(data, tag, start, first, first + length, first + length)
    close = _end_of_contents(data, first, stop)
    return Element(data, tag, start, first, close, close + 2)


def elements(data: bytes, start: int, end: int) -> Iterator[Element]:
    count = 0
    while start < end:
        count += 1
        if count > MAX_ELEMENTS:
            raise Unreadable(f"more than {MAX_ELEMENTS} elements beside one another")
        found = element(data, start, end)
        yield found
        start = found.after


def only(data: bytes) -> Element:
    """The SEQUENCE that `data` begins with; what follows it (padding of files and smart cards) does not count."""
    return element(data).expect(SEQUENCE, "a SEQUENCE")


def inside(data: bytes, start: int = 0) -> int:
    """Where the content of the SEQUENCE at `start` begins, however it ends: for telling what a cut-off file was."""
    tag, first, _ = _header(data, start, len(data))
    if tag != SEQUENCE:
        raise Unreadable(f"tag {tag:#04x} at byte {start} instead of a SEQUENCE")
    return first


def octets(found: Element) -> bytes:
    """Content of an OCTET STRING, whole or in pieces (8.7), also under an implicit tag."""
    if not found.tag & 0x20:
        return found.content
    pieces: list[bytes] = []
    # Pieces of pieces are allowed (8.7.3.2, note 2): a stack of walks instead of recursion.
    walks = [found.children()]
    for _ in range(MAX_ELEMENTS):
        piece = next(walks[-1], None)
        if piece is None:
            walks.pop()
            if not walks:
                return b"".join(pieces)
        elif piece.tag == OCTETS:
            pieces.append(piece.content)
        elif piece.tag == OCTETS | 0x20 and len(walks) < _MAX_PIECES_DEPTH:
            walks.append(piece.children())
        else:
            raise Unreadable(f"tag {piece.tag:#04x} inside an OCTET STRING")
    raise Unreadable(f"an OCTET STRING of more than {MAX_ELEMENTS} pieces")


def integer(found: Element) -> int:
    found.expect(INTEGER, "an INTEGER")
    if not 0 < found.end - found.first <= 64:
        raise Unreadable(f"an INTEGER of {found.end - found.first} bytes")
    return int.from_bytes(found.content, "big", signed=True)


def oid(found: Element) -> str:
    return object_identifier(found.expect(OID, "an OBJECT IDENTIFIER").content)


def parts(found: Element, least: int, what: str) -> list[Element]:
    """The children of a structure that has at least so many. `what`: for the message."""
    inner = list(found.children())
    if len(inner) < least:
        raise Unreadable(f"{what} has {len(inner)} parts instead of {least}")
    return inner


def _header(data: bytes, start: int, stop: int) -> tuple[int, int, int | None]:
    """Tag, where the content begins, its length. None: indefinite."""
    if start + 2 > stop:
        raise Unreadable(f"ends in the middle of the element at byte {start}")
    tag = data[start]
    if tag & 0x1F == 0x1F:
        raise Unreadable(f"a tag of more than one byte at byte {start}")
    length = data[start + 1]
    first = start + 2
    if length < 0x80:
        return tag, first, length
    if length == 0x80:
        if not tag & 0x20:
            raise Unreadable(f"an indefinite length without parts at byte {start}")
        return tag, first, None
    count = length & 0x7F
    if count > 8 or first + count > stop:
        raise Unreadable(f"a length of {count} bytes at byte {start}")
    return tag, first + count, int.from_bytes(data[first : first + count], "big")


def _end_of_contents(data: bytes, position: int, stop: int) -> int:
    """Where the two zero bytes are that close an indefinite length whose content begins at `position`."""
    depth = 0
    for _ in range(MAX_ELEMENTS):
        if data[position : position + 2] == b"\0\0" and position + 2 <= stop:
            if depth == 0:
                return position
            depth -= 1
            position += 2
            continue
        _, position, length = _header(data, position, stop)
        if length is not None:
            position += length
        elif depth < _MAX_DEPTH:
            depth += 1
        else:
            raise Unreadable(f"more than {_MAX_DEPTH} indefinite lengths inside one another")
    raise Unreadable(f"more than {MAX_ELEMENTS} elements under an indefinite length")
