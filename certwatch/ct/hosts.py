"""What could be a host name in the bytes of a certificate's name: every reading that some client may have of them.

Clients differ: where one stops at a NUL another goes on, one reads UTF-8 and another Latin-1, one maps full-width letters.
Whoever must not miss a name takes them all.
"""

import re
import unicodedata
from collections.abc import Iterator

#: A label that cannot be read, and may be any: control characters, bytes of no known encoding.
UNREADABLE = "\ufffd"
#: From the right: ("com", "example", "*").
Labels = tuple[str, ...]

MAX_TEXT = 4096
#: Names that one value may be read as; beyond, the value counts as unreadable.
_MOST_TOKENS = 200
#: Full stops of other scripts (UTS 46, 2.3), as browsers take them.
_DOTS = str.maketrans(dict.fromkeys("\u3002\uff0e\uff61", "."))
#: Ignored by UTS 46, 4: soft hyphen, joiners, variation selectors and their like.
_IGNORED = dict.fromkeys(
    [0xAD, 0x34F, 0x1806, *range(0x180B, 0x180E), *range(0x200B, 0x2010), *range(0x2060, 0x2065), *range(0xFE00, 0xFE10), 0xFEFF]
)  # fmt: skip
_SEPARATORS = re.compile(r"[\s,;|\"'<>()\[\]{}]+")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")
_ENDS_URL, _ENDS_HOST = re.compile(r"[/\\?#]"), re.compile(r"[/\\#]")
_PORT = re.compile(r":[0-9]{0,5}$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffd]")
_HIGH_CONTROL = re.compile(r"[\x80-\x9f]")
_PLAIN = re.compile(r"[a-z0-9_*?-]*")
#: By tag (X.680): how its text is written first of all.
_ENCODINGS = {0x1E: "utf-16-be", 0x1C: "utf-32-be"}


def texts(value: bytes, tag: int = 0x16) -> list[str]:
    """What these bytes may say as text."""
    value = value[:MAX_TEXT]
    encoding = _ENCODINGS.get(tag)
    if encoding is None and value.isascii():
        return [value.decode("ascii")]
    # A client that does not know the type takes the bytes as they are; NULs inside are then seen below.
    found = [value.decode(encoding, "replace")] if encoding is not None else []
    found.append(value.decode("utf-8", "replace"))
    latin = value.decode("latin-1")
    # Well-formed UTF-8 is hardly meant as Latin-1 when that has controls in it.
    if UNREADABLE in found[-1] or not _HIGH_CONTROL.search(latin):
        found.append(latin)
    return list(dict.fromkeys(found))


def hosts(text: str) -> set[Labels]:
    """Every host name that this text may be."""
    found: set[Labels] = set()
    for cut in _at_nul(text):
        tokens = [cut.strip(), *_SEPARATORS.split(cut)]
        if len(tokens) > _MOST_TOKENS:
            found.add((UNREADABLE,))
            tokens = tokens[:_MOST_TOKENS]
        for token in tokens:
            for host in _host_parts(token):
                for reading in _mapped(host):
                    labels = _labels(reading)
                    if labels:
                        found.add(labels)
    return found


def _at_nul(text: str) -> Iterator[str]:
    """To a client that ends strings there, and to one that does not; and to one that drops it."""
    yield text
    if "\0" in text:
        yield text.partition("\0")[0]
        yield text.replace("\0", "")


def _host_parts(token: str) -> Iterator[str]:
    """Of URLs, mail addresses, hosts with ports."""
    yield token
    lowered = token.lower()
    scheme = _SCHEME.match(lowered)
    rest = token[scheme.end() :] if scheme else token
    # "?" begins a URL's query, and is how CAs hid a label: both.
    for end in (_ENDS_URL, _ENDS_HOST):
        cut = end.split(rest, maxsplit=1)[0].rpartition("@")[2]
        for each in (rest, cut, _PORT.sub("", cut)):
            if each != token:
                yield each


def _mapped(host: str) -> Iterator[str]:
    if host.isascii():
        yield host.lower()
        return
    # UTS 46 maps by compatibility and case; IDNA 2003 takes ß for ss, IDNA 2008 leaves it.
    mapped = _compatible(host)
    yield from {
        unicodedata.normalize("NFKC", mapped.lower()),
        unicodedata.normalize("NFKC", mapped.casefold()),
    }


def _compatible(text: str) -> str:
    return unicodedata.normalize("NFKC", text.translate(_IGNORED).translate(_DOTS)).translate(_DOTS)


def mapped_text(text: str) -> str:
    """Text in which a name may stand somewhere, as names in it are mapped."""
    return unicodedata.normalize("NFKC", _compatible(text).lower())


def _labels(host: str) -> Labels:
    """From the right, without the root's and others' empty labels at either end."""
    parts = [_label(each) for each in host.strip(".").split(".")]
    return tuple(reversed(parts)) if any(parts) else ()


def _label(label: str) -> str:
    if _PLAIN.fullmatch(label):
        return _canonical(label) if label.startswith("xn--") else label
    if _CONTROL.search(label):
        return UNREADABLE
    if label.isascii():
        # Spaces and signs: of no host, whatever a client makes of them.
        return UNREADABLE if "\\" in label or "%" in label else label
    return a_label(label)


def a_label(label: str) -> str:
    """Of a mapped U-label; without the rules of IDNA, which a certificate need not keep."""
    try:
        return label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")
    except UnicodeError:
        return UNREADABLE


def _canonical(label: str) -> str:
    """An A-label as its U-label is written: one whose U-label is not in lower case, or is none, is read as it is shown."""
    try:
        shown = label[4:].encode("ascii").decode("punycode")
    except (UnicodeError, ValueError, OverflowError):
        return label
    mapped = unicodedata.normalize("NFKC", shown.translate(_IGNORED)).lower()
    return label if mapped == shown and not shown.isascii() else a_label(mapped)


def a_label_is_canonical(label: str) -> bool:
    """Lower case. True: it has one reading, itself; also where it is no A-label."""
    return not label.startswith("xn--") or _canonical(label) == label
