"""Objects' JSON, as much of it as is needed: what is not named here is skipped without being built. Values that are
large or secret (data, annotations) stay where they are in the page until somebody asks for one."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from certwatch.doors.kubernetes.nesting import shallow

T = TypeVar("T")
_QUOTE = ord('"')
#: DNS names, which nearly all are, have 253.
_LONGEST_NAME = 500


class Meta(msgspec.Struct, rename="camel", gc=False):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    #: May hold a whole Secret (kubectl's last-applied-configuration).
    annotations: dict[str, msgspec.Raw] | None = None

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def is_named(self) -> bool:
        return is_name(self.name) and (not self.namespace or is_name(self.namespace))


class Bare(msgspec.Struct, gc=False):
    metadata: Meta


class Secret(msgspec.Struct, gc=False):
    metadata: Meta
    type: str = ""
    data: dict[str, msgspec.Raw] | None = None


class ConfigMap(msgspec.Struct, rename="camel", gc=False):
    metadata: Meta
    data: dict[str, msgspec.Raw] | None = None
    binary_data: dict[str, msgspec.Raw] | None = None


class Tree(msgspec.Struct, gc=False):
    """For what is small and of many shapes."""

    metadata: Meta
    spec: Any = None
    status: Any = None
    webhooks: Any = None


class Event(msgspec.Struct, gc=False):
    """Of a watch."""

    type: str
    object: msgspec.Raw


class Unreadable(Exception):
    """Not an object of this kind. The message is half a sentence."""


_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def decode(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Raises Unreadable."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        try:
            return decoder.decode(data)  # type: ignore[no-any-return]
        except RecursionError:
            return decoder.decode(shallow(bytes(data)))  # type: ignore[no-any-return]
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Unreadable(f"is not what the API promises ({str(error)[:100]})") from error


def is_name(text: str) -> bool:
    """What any name in the API is at least: a segment of a path (apimachinery, api/validation/path), of bounded length."""
    if not 0 < len(text) <= _LONGEST_NAME or text in (".", ".."):
        return False
    return text.isprintable() and "/" not in text and "%" not in text


def annotation(meta: Meta, key: str) -> str:
    """Empty: it has none of that name."""
    raw = meta.annotations.get(key) if meta.annotations else None
    try:
        return text(raw).strip() if raw is not None else ""
    except Unreadable:
        return ""


def text(raw: msgspec.Raw) -> str:
    """Raises Unreadable."""
    return decode(raw, str)


def bytes_of(raw: msgspec.Raw) -> bytes:
    """Base64, as Secrets have it. Raises Unreadable."""
    value = memoryview(raw)
    if len(value) > 1 and value[0] == value[-1] == _QUOTE:
        # The usual case, without a copy as text: base64 has nothing that JSON escapes.
        try:
            return base64.b64decode(value[1:-1], validate=True)
        except (binascii.Error, ValueError):
            pass
    return from_base64(decode(raw, str | None) or "")  # type: ignore[arg-type]


def from_base64(value: str) -> bytes:
    """Raises Unreadable."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unreadable("is not base64") from error


def at(tree: Any, *path: str | int) -> Any:
    """What stands there in a tree. None: nothing, or it is of another shape on the way."""
    for step in path:
        if isinstance(step, int):
            tree = tree[step] if isinstance(tree, list) and step < len(tree) else None
        else:
            tree = tree.get(step) if isinstance(tree, Mapping) else None
    return tree


def string(tree: Any, *path: str | int) -> str:
    """Empty: none."""
    found = at(tree, *path)
    return found if isinstance(found, str) else ""


def listed(tree: Any, *path: str | int) -> list[Any]:
    found = at(tree, *path)
    return found if isinstance(found, list) else []
