"""What is watched: names, trees of names, addresses, organisations, keys. Looking up costs the same for one and for a hundred
thousand."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from certwatch.ct.hosts import UNREADABLE, Labels, hosts, mapped_text

Network = IPv4Network | IPv6Network

MAX_ITEMS = 1_000_000
#: Full stops that are looked at in what cannot be read; a certificate with more matches all that is watched. None has a thousandth.
MOST_DOTS = 100_000
#: Characters, times names, that are compared in what cannot be read.
MOST_COMPARED = 4_000_000_000
_PART, _OVERLAP = 1 << 20, 1 << 12
_NEVER = re.compile(rb"(?!)")
_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
#: Left out when organisations are compared: what companies add and leave out.
_FILLING = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One watched name."""

    #: As it is shown, in A-labels: "www.example.com", ".example.com".
    text: str
    #: From the right.
    labels: Labels
    #: True: itself and everything below.
    is_tree: bool


class WatchError(ValueError):
    """Something in a watch list is nothing that can be watched. The message names it."""


def parse_item(text: str) -> Item:
    """ "example.com" is that name alone, ".example.com" it and all below, "." every name. U-labels are turned to A-labels.
    Raises WatchError."""
    shown = text.strip()
    is_tree = shown.startswith((".", "*."))
    bare = shown.removeprefix("*").strip(".")
    if not bare:
        if shown == ".":
            return Item(text=".", labels=(), is_tree=True)
        raise WatchError(
            f"{shown[:100]!r} is no name: example.com, .example.com for all below, or a single dot for all there is"
        )
    readings = [each for each in hosts(bare) if len(each) and UNREADABLE not in each]
    plain = [each for each in readings if _HOST.fullmatch(".".join(each))]
    if len(plain) != 1 or len(plain) != len(readings):
        mapped = sorted(plain)
        # ß has two readings; what is written down is meant as it is.
        if not mapped or len(plain) != len(readings):
            raise WatchError(
                f"{shown[:100]!r} is no name of a host: letters, digits and hyphens between dots"
            )
        plain = mapped[-1:]
    labels = plain[0]
    if len(labels) > 127 or any(len(each) > 63 for each in labels):
        raise WatchError(f"{shown[:100]!r} is longer than a name can be")
    name = ".".join(reversed(labels))
    return Item(text="." + name if is_tree else name, labels=labels, is_tree=is_tree)


def parse_network(text: str) -> Network:
    """Raises WatchError."""
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError as error:
        raise WatchError(f"{text[:100]!r} is neither an address nor a network") from error


def parse_key(text: str) -> bytes:
    """SHA-256 of a SubjectPublicKeyInfo, in hex, with or without colons. Raises WatchError."""
    try:
        digest = bytes.fromhex(text.strip().removeprefix("sha256:").replace(":", ""))
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise WatchError(f"{text[:100]!r} is not the SHA-256 of a public key: 64 hex digits")
    return digest


def folded(organisation: str) -> str:
    """Two spellings of one organisation are the same: case, accents' encoding, punctuation and spaces do not count."""
    return _FILLING.sub("", unicodedata.normalize("NFKC", organisation).casefold())


@dataclass(slots=True)
class WatchList:
    """Made once, then only read; safe in any thread."""

    items: tuple[Item, ...] = ()
    networks: tuple[Network, ...] = ()
    #: Folded: see `folded`.
    organisations: frozenset[str] = frozenset()
    #: SHA-256 of SubjectPublicKeyInfo.
    keys: frozenset[bytes] = frozenset()
    #: What is told of a match by organisation: as it was written down.
    organisation_names: Mapping[str, str] = field(default_factory=dict)
    is_everything: bool = False
    #: Last two labels, from the left and lower case ("example.com"): what an item's matches end in, wildcards apart.
    tails: frozenset[bytes] = frozenset()
    #: Items of one label.
    single: frozenset[bytes] = frozenset()
    _by_tail: dict[tuple[str, str], list[Item]] = field(default_factory=dict)
    _by_last: dict[str, list[Item]] = field(default_factory=dict)
    _first_parts: frozenset[str] = frozenset()
    #: Lengths that last labels, and those before them, have.
    _lengths: tuple[int, ...] = ()
    _first_lengths: tuple[int, ...] = ()
    #: A full stop in front of what a last label begins with.
    _dots: re.Pattern[bytes] = _NEVER
    #: Items with A-labels, as they are shown, mapped.
    _shown: Mapping[str, tuple[Item, ...]] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        items: Iterable[Item] = (),
        *,
        networks: Iterable[Network] = (),
        organisations: Iterable[str] = (),
        keys: Iterable[bytes] = (),
    ) -> "WatchList":
        """Raises WatchError."""
        unique = tuple(dict.fromkeys(items))
        if len(unique) > MAX_ITEMS:
            raise WatchError(f"{len(unique)} names; at most {MAX_ITEMS} can be watched")
        named = {folded(each): each for each in organisations}
        if "" in named:
            raise WatchError(f"{named['']!r} is no organisation")
        self = cls(
            items=unique,
            networks=tuple(networks),
            organisations=frozenset(named),
            keys=frozenset(keys),
            organisation_names=named,
            is_everything=any(not each.labels for each in unique),
        )
        for each in unique:
            if not each.labels:
                continue
            self._by_last.setdefault(each.labels[0], []).append(each)
            if len(each.labels) > 1:
                self._by_tail.setdefault((each.labels[0], each.labels[1]), []).append(each)
        self.tails = frozenset(f"{second}.{last}".encode() for last, second in self._by_tail)
        self.single = frozenset(each.labels[0].encode() for each in unique if len(each.labels) == 1)
        self._first_parts = frozenset(second for _, second in self._by_tail)
        self._lengths = tuple(sorted(set(map(len, self._by_last))))
        self._first_lengths = tuple(sorted(set(map(len, self._first_parts))))
        if self._by_last:
            firsts = b"".join(re.escape(each[:1].encode()) for each in sorted(self._by_last))
            self._dots = re.compile(rb"\.(?=[" + firsts + rb"])")
        shown: dict[str, list[Item]] = {}
        for each in unique:
            if any(label.startswith("xn--") for label in each.labels[:2]):
                shown.setdefault(_shown(each), []).append(each)
        self._shown = {text: tuple(items) for text, items in shown.items()}
        return self

    def __bool__(self) -> bool:
        return bool(self.items or self.networks or self.organisations or self.keys)

    def matching(self, labels: Labels) -> list[Item]:
        """Items that a certificate for this name could be used for."""
        if self.is_everything:
            return [each for each in self.items if not each.labels]
        return [each for each in self._candidates(labels) if _matches(each, labels)]

    def _candidates(self, labels: Labels) -> Iterable[Item]:
        last = labels[0]
        if not _is_literal(last):
            return self.items
        if len(labels) > 1 and _is_literal(labels[1]):
            items = self._by_tail.get((last, labels[1]), [])
            return (
                [*items, *(each for each in self._by_last.get(last, ()) if len(each.labels) == 1)]
                if self.single
                else items
            )
        return self._by_last.get(last, ())

    def matching_address(self, address: IPv4Address | IPv6Address) -> list[Network]:
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return [
            network
            for network in self.networks
            if (address.version == network.version and address in network)
            or (mapped is not None and network.version == 4 and mapped in network)
        ]

    def matching_text(self, labels: Labels) -> list[Network]:
        """An address that stands where a host name should."""
        if not self.networks or not (labels[0].isdigit() or ":" in labels[-1]):
            return []
        try:
            return self.matching_address(ip_address(".".join(reversed(labels)).partition("%")[0]))
        except ValueError:
            return []

    def possible(self, region: bytes) -> list[Item]:
        """Items of which some name could be in bytes that no parser can read: in any case, with anything between the letters
        that is no letter, digit or sign, UTF-8, UTF-16 and UTF-32 alike. All, if there is more in them than is looked at."""
        if self.is_everything:
            return [each for each in self.items if not each.labels]
        found: dict[Item, None] = {}
        seen = _Seen()
        for part in _parts(region):
            texts = [part.translate(_FOLD, _DROPPED), part.translate(_FOLD)]
            if not part.isascii():
                mapped = [mapped_text(part.decode(code, "ignore")) for code in ("utf-8", "latin-1")]
                texts += [each.encode("utf-8", "ignore") for each in mapped]
                self._possible_shown(part, mapped, found)
            for text in texts:
                for each in self._possible(text, seen):
                    found[each] = None
            if seen.dots > MOST_DOTS:
                return list(self.items)
        return list(found)

    def possible_organisations(self, region: bytes) -> list[str]:
        """As `possible`, of organisations."""
        if not self.organisations:
            return []
        found: dict[str, None] = {}
        for part in _parts(region):
            text = "\0".join(folded(part.decode(code, "ignore")) for code in ("utf-8", "latin-1"))
            for plain, shown in self.organisation_names.items():
                if plain in text:
                    found[shown] = None
        return list(found)

    def _possible(self, text: bytes, seen: "_Seen") -> Iterator[Item]:
        for dot in self._dots.finditer(text):
            seen.dots += 1
            if seen.dots > MOST_DOTS:
                return
            behind = text[dot.end() : dot.end() + 63].decode("latin-1")
            lasts = [behind[:each] for each in self._lengths if behind[:each] in self._by_last]
            if not lasts:
                continue
            before = text[max(0, dot.start() - 63) : dot.start()].decode("latin-1")
            firsts = [before[-each:] for each in self._first_lengths if before[-each:] in self._first_parts]
            is_wild = before.endswith(("*", "?"))
            for last in lasts:
                if last not in seen.lasts:
                    seen.lasts.add(last)
                    yield from (each for each in self._by_last[last] if len(each.labels) == 1)
                if is_wild and last not in seen.wild:
                    seen.wild.add(last)
                    yield from self._by_last[last]
                for first in firsts:
                    yield from self._by_tail.get((last, first), ())

    def _possible_shown(self, part: bytes, mapped: Sequence[str], found: dict[Item, None]) -> None:
        """As their U-labels."""
        if not self._shown:
            return
        wide = [
            mapped_text(part[start:].decode(code, "ignore"))
            for code, width in (("utf-16-be", 2), ("utf-32-be", 4))
            for start in range(width)
        ]
        text = "\0".join((*mapped, *wide))
        is_too_much = len(text) * len(self._shown) > MOST_COMPARED
        for shown, items in self._shown.items():
            if is_too_much or shown in text:
                for each in items:
                    found[each] = None


@dataclass(slots=True)
class _Seen:
    """In one certificate: so that nothing is looked at again and again."""

    dots: int = 0
    lasts: set[str] = field(default_factory=set)
    wild: set[str] = field(default_factory=set)


def _parts(region: bytes) -> Iterator[bytes]:
    """So that what is made of it stays small; each begins with the end of the one before, so that no name is cut in two."""
    for start in range(0, max(1, len(region)), _PART):
        yield region[max(0, start - _OVERLAP) : start + _PART]


_FOLD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")
#: Controls and NUL, which hide between letters; letters of more than one byte keep theirs.
_DROPPED = bytes([*range(0x20), 0x7F])


def _shown(item: Item) -> str:
    labels = []
    for label in reversed(item.labels):
        try:
            labels.append(label[4:].encode().decode("punycode") if label.startswith("xn--") else label)
        except (UnicodeError, OverflowError):
            labels.append(label)
    return ".".join(labels)


def _is_literal(label: str) -> bool:
    return "*" not in label and "?" not in label and label != UNREADABLE and label != ""


def _matches(item: Item, labels: Labels) -> bool:
    if len(labels) < len(item.labels) or (not item.is_tree and len(labels) != len(item.labels)):
        return False
    return all(_label_matches(wanted, label) for wanted, label in zip(item.labels, labels, strict=False))


def _label_matches(wanted: str, label: str) -> bool:
    """A wildcard may stand in the middle of a label, and never crosses a dot; "?" is a redacted label."""
    if label == wanted:
        return True
    if _is_literal(label):
        return False
    if label in (UNREADABLE, ""):
        return label == UNREADABLE
    # "?" alone was what CAs put for labels that they hid; inside a label it is as good as a wildcard. Part by part: a pattern
    # that goes back on its steps can be made to take for ever.
    first, *middle, last = _WILD.split(label)
    position, end = len(first), len(wanted) - len(last)
    if position > end or not wanted.startswith(first) or not wanted.endswith(last):
        return False
    for part in middle:
        position = wanted.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True


_WILD = re.compile(r"[*?]+")


def networks_of(found: Iterable[Network]) -> Iterator[str]:
    for each in found:
        yield str(each.network_address) if each.prefixlen == each.max_prefixlen else str(each)
