"""Where a serialised Java object ends: as much of the Object Serialization Stream Protocol, 6.4, as skipping one needs.

JCEKS keeps secret keys as serialised objects without saying how long they are, and what comes after them is of
interest. Nothing is made of the objects; classes are never looked up.
"""

import struct
from dataclasses import dataclass, field

from certwatch.x509.tlv import Unreadable

_MAGIC = b"\xac\xed\x00\x05"
#: Objects inside one another, and objects in all. A sealed key has a dozen in three levels.
_MAX_DEPTH = 30
_MAX_OBJECTS = 10_000

_NULL, _REFERENCE, _CLASS_DESCRIPTION, _OBJECT, _STRING, _ARRAY, _CLASS = range(0x70, 0x77)
_BLOCK, _END_BLOCK, _RESET, _LONG_BLOCK, _EXCEPTION, _LONG_STRING, _PROXY, _ENUM = range(0x77, 0x7F)
_FIRST_HANDLE = 0x7E0000
_SIZES = {"B": 1, "C": 2, "D": 8, "F": 4, "I": 4, "J": 8, "S": 2, "Z": 1}


@dataclass(frozen=True, slots=True)
class _Class:
    name: str
    flags: int
    #: Type codes of the fields, in their order.
    fields: str
    parent: "_Class | None"


@dataclass(slots=True)
class _Stream:
    data: bytes
    position: int
    #: What a later reference may mean, in order of appearance. None: no class.
    handles: list[_Class | None] = field(default_factory=list)
    objects: int = 0

    def take(self, size: int) -> bytes:
        if size < 0 or self.position + size > len(self.data):
            raise Unreadable("a serialised object is cut off")
        self.position += size
        return self.data[self.position - size : self.position]

    def number(self, layout: str) -> int:
        (value,) = struct.unpack(layout, self.take(struct.calcsize(layout)))
        return int(value)

    def text(self) -> str:
        return self.take(self.number(">H")).decode("utf-8", "replace")


def end_of_object(data: bytes, position: int) -> int:
    """Behind the stream of one object that begins at `position`. Raises Unreadable."""
    stream = _Stream(data, position)
    if stream.take(4) != _MAGIC:
        raise Unreadable("no serialised object where one should be")
    _content(stream, stream.number(">B"), 0)
    return stream.position


def _content(stream: _Stream, code: int, depth: int) -> None:
    stream.objects += 1
    if depth > _MAX_DEPTH or stream.objects > _MAX_OBJECTS:
        raise Unreadable("a serialised object of too many objects")
    if code == _OBJECT:
        described = _class(stream, stream.number(">B"), depth + 1)
        stream.handles.append(None)
        _class_data(stream, described, depth + 1)
    elif code == _ARRAY:
        described = _class(stream, stream.number(">B"), depth + 1)
        stream.handles.append(None)
        _array(stream, described, depth + 1)
    elif code == _STRING:
        stream.handles.append(None)
        stream.take(stream.number(">H"))
    elif code == _LONG_STRING:
        stream.handles.append(None)
        stream.take(stream.number(">Q"))
    elif code == _ENUM:
        _class(stream, stream.number(">B"), depth + 1)
        stream.handles.append(None)
        _content(stream, stream.number(">B"), depth + 1)
    elif code == _REFERENCE:
        stream.take(4)
    elif code == _CLASS_DESCRIPTION:
        _class(stream, code, depth + 1)
    elif code == _BLOCK:
        stream.take(stream.number(">B"))
    elif code == _LONG_BLOCK:
        stream.take(stream.number(">I"))
    elif code != _NULL:
        raise Unreadable(f"a serialised object with type code {code:#04x}")


def _class(stream: _Stream, code: int, depth: int) -> _Class | None:
    """newClassDesc, a reference to one, or nothing."""
    if depth > _MAX_DEPTH:
        raise Unreadable("a serialised object of too many classes")
    if code == _NULL:
        return None
    if code == _REFERENCE:
        at = stream.number(">I") - _FIRST_HANDLE
        if not 0 <= at < len(stream.handles):
            raise Unreadable("a serialised object with a reference to nothing")
        return stream.handles[at]
    if code != _CLASS_DESCRIPTION:
        raise Unreadable(f"a serialised class with type code {code:#04x}")
    name = stream.text()
    stream.take(8)  # serialVersionUID
    at = len(stream.handles)
    stream.handles.append(None)
    flags = stream.number(">B")
    codes = []
    for _ in range(stream.number(">H")):
        codes.append(chr(stream.number(">B")))
        stream.text()
        if codes[-1] in "[L":
            _content(stream, stream.number(">B"), depth + 1)
    _annotation(stream, depth + 1)
    parent = _class(stream, stream.number(">B"), depth + 1)
    described = _Class(name, flags, "".join(codes), parent)
    stream.handles[at] = described
    return described


def _annotation(stream: _Stream, depth: int) -> None:
    while (code := stream.number(">B")) != _END_BLOCK:
        _content(stream, code, depth)


def _class_data(stream: _Stream, described: _Class | None, depth: int) -> None:
    lineage: list[_Class] = []
    while described is not None:
        lineage.append(described)
        described = described.parent
    for each in reversed(lineage):
        serialisable, external = each.flags & 0x02, each.flags & 0x04
        if external and not each.flags & 0x08:
            raise Unreadable("a serialised object in a form of its own")
        if serialisable:
            for code in each.fields:
                _value(stream, code, depth)
        if external or each.flags & 0x01:
            _annotation(stream, depth)


def _value(stream: _Stream, code: str, depth: int) -> None:
    if code in "[L":
        _content(stream, stream.number(">B"), depth)
    elif code in _SIZES:
        stream.take(_SIZES[code])
    else:
        raise Unreadable(f"a serialised field of type {code!r}")


def _array(stream: _Stream, described: _Class | None, depth: int) -> None:
    count = stream.number(">I")
    code = described.name[1:2] if described is not None else ""
    if code in _SIZES:
        stream.take(count * _SIZES[code])
    elif count > _MAX_OBJECTS:
        raise Unreadable(f"a serialised array of {count} objects")
    else:
        for _ in range(count):
            _value(stream, code or "?", depth)
