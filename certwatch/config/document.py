"""YAML text to plain values with the line of every key: bounded, without surprises.

Made from the parser's events, so that neither depth nor aliases can exhaust anything. Scalars are read as YAML 1.2's
core schema does (1.2, 10.3.2): `no`, `on` and `12:30` are texts, not a truth value or a number.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from certwatch.config.mistakes import Mistake, Path

#: Deeper than any config; recursion over values is safe.
MAX_DEPTH = 40
#: Values, each use of an alias counted anew.
MAX_VALUES = 100_000

_NULL = frozenset(["", "~", "null", "Null", "NULL"])
_TRUE = frozenset(["true", "True", "TRUE"])
_FALSE = frozenset(["false", "False", "FALSE"])
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})")
_DIGITS = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0x[0-9a-fA-F]{1,16}|0o[0-7]{1,21}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")

#: Tags that say what is the case anyhow.
_TEXT_TAGS = frozenset(["!", "tag:yaml.org,2002:str"])
_PLAIN_TAGS = frozenset(["tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"])


class DocumentError(Exception):
    """The text is not a document that could be a config."""

    def __init__(self, *mistakes: Mistake) -> None:
        super().__init__(mistakes[0].message)
        self.mistakes = mistakes


@dataclass(slots=True)
class _Node:
    line: int
    #: Text of a scalar. None: a list or a mapping.
    text: str | None = None
    #: The scalar stands without quotes and without a tag: its text decides what it is.
    plain: bool = False
    items: "list[_Node] | None" = None
    pairs: "list[tuple[_Node, _Node]] | None" = None
    open: bool = False


@dataclass(slots=True)
class Document:
    #: Strings, numbers, truth values, None, lists and dicts with string keys.
    value: Any
    #: Line of every key and item, from 1.
    lines: dict[Path, int] = field(default_factory=dict)
    #: The text of unquoted scalars that became something else: `1.10` as it was written.
    written: dict[Path, str] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """Of the key itself, or of what is around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def parse(text: str) -> Document:
    """Raises DocumentError."""
    try:
        root = _compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # An end that comes too early stands, for libyaml, on a line after the last.
        line = min(mark.line + 1, text.rstrip().count("\n") + 1) if mark is not None else 0
        problem = error.problem or error.context or "cannot be read"
        raise DocumentError(Mistake(line=line, path=(), message=f"not YAML: {problem}")) from error
    except yaml.reader.ReaderError as error:
        # libyaml counts bytes.
        line = text.encode()[: error.position].count(b"\n") + 1 if isinstance(error.position, int) else 0
        message = f"not YAML: {error.reason}"
        raise DocumentError(Mistake(line=line, path=(), message=message)) from error
    except yaml.YAMLError as error:
        raise DocumentError(Mistake(line=0, path=(), message=f"not YAML: {error}")) from error
    document = Document(value=None)
    if root is not None:
        flattening = _Flattening(document)
        document.value = flattening.value(root, ())
        if flattening.mistakes:
            raise DocumentError(*flattening.mistakes)
    return document


def _fail(line: int, message: str) -> DocumentError:
    return DocumentError(Mistake(line=line, path=(), message=message))


def _events(text: str) -> Iterator[Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.parse(text, Loader=loader)


def _compose(text: str) -> _Node | None:
    """The first document's tree. None: there is none."""
    root: _Node | None = None
    stack: list[_Node] = []
    keys: list[_Node | None] = []
    anchors: dict[str, _Node] = {}
    documents = 0
    for event in _events(text):
        line = event.start_mark.line + 1 if event.start_mark is not None else 0
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _fail(line, "a second document begins here: a config is one document")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            stack.pop().open = False
            keys.pop()
            continue
        if isinstance(event, yaml.AliasEvent):
            node = anchors.get(event.anchor or "")
            if node is None:
                raise _fail(line, f'alias "*{event.anchor}" has no anchor before it')
            if node.open:
                raise _fail(line, f'alias "*{event.anchor}" stands inside what it stands for')
        elif isinstance(event, yaml.NodeEvent):
            node = _node(event, line)
            if event.anchor is not None:
                anchors[event.anchor] = node
        else:
            continue
        if not stack:
            root = node
        elif stack[-1].items is not None:
            stack[-1].items.append(node)
        elif stack[-1].pairs is not None:
            key = keys[-1]
            if key is None:
                keys[-1] = node
            else:
                stack[-1].pairs.append((key, node))
                keys[-1] = None
        if isinstance(event, yaml.CollectionStartEvent):
            if len(stack) >= MAX_DEPTH:
                raise _fail(line, f"nested deeper than {MAX_DEPTH} levels")
            stack.append(node)
            keys.append(None)
    return root


def _node(event: Any, line: int) -> _Node:
    tag = event.tag
    if isinstance(event, yaml.ScalarEvent):
        if tag is not None and tag not in _TEXT_TAGS:
            raise _strange_tag(line, tag)
        return _Node(line=line, text=event.value, plain=tag is None and event.implicit[0])
    if tag is not None and tag not in _PLAIN_TAGS:
        raise _strange_tag(line, tag)
    if isinstance(event, yaml.SequenceStartEvent):
        return _Node(line=line, items=[], open=True)
    node = _Node(line=line, open=True)
    node.pairs = []
    return node


def _strange_tag(line: int, tag: str) -> DocumentError:
    shown = tag.replace("tag:yaml.org,2002:", "!!")
    return _fail(line, f"the tag {shown} is not used in a config: remove it")


def scalar(text: str) -> str | int | float | bool | None:
    """What an unquoted text is."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _INT.fullmatch(text):
        return int(text)
    if _DIGITS.fullmatch(text):
        return text  # a file mode, a serial number: as a number it would be another
    if _OTHER_BASE.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


class _Flattening:
    """Turns nodes into values; an alias becomes a copy of what it stands for."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._values = 0
        self.mistakes: list[Mistake] = []

    def value(self, node: _Node, path: Path) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _fail(node.line, f"more than {MAX_VALUES} values, aliases counted: too many for a config")
        if len(path) > MAX_DEPTH:
            raise _fail(node.line, f"nested deeper than {MAX_DEPTH} levels")
        self._document.lines.setdefault(path, node.line)
        if node.items is not None:
            return [self.value(item, (*path, index)) for index, item in enumerate(node.items)]
        if node.pairs is not None:
            return self._mapping(node.pairs, path)
        text = node.text or ""
        if not node.plain:
            return text
        value = scalar(text)
        if not isinstance(value, str):
            self._document.written[path] = text
        return value

    def _mapping(self, pairs: list[tuple[_Node, _Node]], path: Path) -> dict[str, Any]:
        own: dict[str, _Node] = {}
        merged: list[_Node] = []
        lines: dict[str, int] = {}
        for key, value in pairs:
            if key.text is None:
                raise _fail(key.line, "a key is a text, not a list or a mapping")
            if key.plain and key.text == "<<":
                merged += self._merged(value)
            elif key.text in own:
                message = f"the same key twice: it stands on line {lines[key.text]} already"
                self.mistakes.append(Mistake(line=key.line, path=(*path, key.text), message=message))
            else:
                own[key.text], lines[key.text] = value, key.line
        # YAML merge keys: the mapping's own keys win, then the first that is merged.
        for node in merged:
            for key, value in node.pairs or []:
                if key.text is not None and key.text not in own and key.text != "<<":
                    own[key.text], lines[key.text] = value, key.line
        result = {}
        for name, node in own.items():
            self._document.lines[(*path, name)] = lines[name]
            result[name] = self.value(node, (*path, name))
        return result

    def _merged(self, node: _Node) -> list[_Node]:
        nodes = node.items if node.items is not None else [node]
        if any(each.pairs is None for each in nodes):
            raise _fail(node.line, '"<<" merges a mapping, or a list of mappings')
        return nodes
