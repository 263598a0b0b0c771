"""kubeconfig: what each cluster's and each user's entry trusts or presents, inline or by a path."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import yaml

from certwatch.x509 import inline
from certwatch.x509.containers import Container, Entry, Problem, malformed, shown, unique
from certwatch.x509.pbe import Work
from certwatch.x509.tlv import Unreadable

#: Larger is none; one of a thousand clusters has some 6 MB.
MAX_BYTES = 16 << 20
_MAX_EVENTS = 200_000
_MAX_DEPTH = 16
_SIGN = re.compile(rb"""(?:^|[{,])[ \t]*["']?(?:clusters|users)["']?[ \t]*:""", re.MULTILINE)

#: What `yaml` says with the few types that are needed: every scalar is text.
Node: TypeAlias = "str | list[Node] | dict[str, Node]"


def looks_like(data: bytes) -> bool:
    # Plain searches first: every PEM file comes by here.
    return (b"certificate-authority" in data or b"client-certificate" in data) and (
        _SIGN.search(data) is not None
    )


def read(data: bytes, passphrases: Sequence[str] = (), work: Work | None = None) -> Container:
    """Never raises. Entries are "cluster/NAME" and "user/NAME"; those without certificates are left out."""
    problems: list[Problem] = []
    entries: list[Entry] = []
    try:
        if len(data) > MAX_BYTES:
            raise Unreadable(f"larger than {MAX_BYTES} bytes")
        root = _load(data)
    except Unreadable as error:
        return Container(format="kubeconfig", problems=(malformed(f"kubeconfig: {error}"),))
    for name, cluster in _named(root, "clusters", "cluster"):
        what = f'cluster "{shown(name)}"'
        authority = _decoded(cluster, "certificate-authority-data", what, problems)
        path = _text(cluster, "certificate-authority")
        if authority is not None or path:
            certificates = _certificates(authority, what, problems)
            if certificates or authority is None:
                entries.append(
                    Entry(
                        name=f"cluster/{name}",
                        certificates=certificates,
                        arrangement="bundle",
                        # The data wins over the path, as in kubectl.
                        path=path if authority is None else None,
                    )
                )
    # One purse for all the keys of the file.
    work = work or Work()
    for name, user in _named(root, "users", "user"):
        entry = _user(name, user, passphrases, work, problems)
        if entry is not None:
            entries.append(entry)
    return Container(format="kubeconfig", entries=unique(entries), problems=tuple(problems))


def _user(
    name: str, user: Mapping[str, Node], passphrases: Sequence[str], work: Work, problems: list[Problem]
) -> Entry | None:
    what = f'user "{shown(name)}"'
    presented = _decoded(user, "client-certificate-data", what, problems)
    path = _text(user, "client-certificate")
    key = _decoded(user, "client-key-data", what, problems)
    if presented is None and not path:
        return None
    certificates = _certificates(presented, what, problems)
    if presented is not None and not certificates:
        return None
    return Entry(
        name=f"user/{name}",
        certificates=certificates,
        key=inline.key_match(key, certificates[0], passphrases, work) if key and certificates else None,
        path=path if presented is None else None,
        key_path=(_text(user, "client-key") or None) if key is None else None,
    )


def _certificates(data: bytes | None, what: str, problems: list[Problem]) -> tuple[bytes, ...]:
    if data is None:
        return ()
    found = inline.read(data)
    problems += [malformed(f"{what}: {each}") for each in found.problems]
    if not found.certificates and not found.problems:
        problems.append(malformed(f"{what}: no certificate in its data"))
    return found.certificates


def _named(root: Node, list_key: str, item_key: str) -> list[tuple[str, Mapping[str, Node]]]:
    """The items of a named list; what is of another shape is passed over, as kubectl's decoder would refuse it."""
    items = root.get(list_key) if isinstance(root, dict) else None
    found: list[tuple[str, Mapping[str, Node]]] = []
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            inner = item.get(item_key)
            if isinstance(inner, dict):
                found.append((_text(item, "name"), inner))
    return found


def _text(node: Mapping[str, Node], key: str) -> str:
    value = node.get(key, "")
    return value if isinstance(value, str) else ""


def _decoded(node: Mapping[str, Node], key: str, what: str, problems: list[Problem]) -> bytes | None:
    """None: absent, empty or no base64 (then in `problems`)."""
    text = "".join(_text(node, key).split())
    if not text:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        problems.append(malformed(f"{what}: {key} is not base64"))
        return None


def _load(data: bytes) -> Node:
    """YAML by its events: without types, tags or aliases, with a bound on depth and size. Raises Unreadable."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # Open collections with the key that waits for its value; the outermost takes the document.
    document: list[Node] = []
    stack: list[tuple[list[Node] | dict[str, Node], list[str]]] = [(document, [])]
    try:
        for count, event in enumerate(yaml.parse(data, Loader=loader)):
            if count > _MAX_EVENTS or len(stack) > _MAX_DEPTH:
                raise Unreadable("too large or too deep")
            if isinstance(event, yaml.AliasEvent):
                raise Unreadable("has YAML aliases, which are not followed")
            if isinstance(event, yaml.DocumentEndEvent):
                break
            if isinstance(event, yaml.ScalarEvent):
                _put(stack[-1], event.value)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                opened: list[Node] | dict[str, Node] = {} if isinstance(event, yaml.MappingStartEvent) else []
                _put(stack[-1], opened)
                stack.append((opened, []))
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                stack.pop()
    except (yaml.YAMLError, UnicodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise Unreadable(f"is not YAML{where}") from error
    return document[0] if document else ""


def _put(into: tuple[list[Node] | dict[str, Node], list[str]], value: Node) -> None:
    collection, waiting = into
    if isinstance(collection, list):
        collection.append(value)
    elif waiting:
        collection[waiting.pop()] = value
    else:
        # A key that is no text names nothing of ours.
        waiting.append(value if isinstance(value, str) else "")
