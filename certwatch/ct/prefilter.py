"""Which entries need not be read: proven for each one, at a cost that does not depend on how much is watched.

The argument (docs/ct.md has it at length). `names.match` reads names at the content octets of two identifiers and nowhere else,
unless there is no subjectAltName. An entry is *plain*, and passed over, only if

1. the octets 55 1d 11 stand in it exactly once, in an extension of the usual form whose value is one SEQUENCE of dNSNames, all
   lengths agreeing;
2. each of these names is of letters, digits, "-", "_", "." and "*" only, has no A-label, and its last two labels are whole and
   without wildcard: then its only reading is itself in lower case, and an item of two labels or more matches it only if its own
   last two labels are the same. They are looked up in a set; so is the last label for items of one label;
3. each value behind 55 04 03, of which there are fewer than 64, is a string in short form that was looked at in the same way, or
   in full once, and remembered;
4. where organisations, addresses or keys are watched: the same for each value behind 55 04 0a, no name that ends in a
   number, and a key that is not among them.

Everything else is read in full. So whatever `match` finds is in an entry that is not plain.
"""

import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from operator import itemgetter

from certwatch.ct.hosts import a_label_is_canonical, hosts, texts
from certwatch.ct.names import MOST_PLACES, spki
from certwatch.ct.watch import WatchList, folded

_TYPES = (b"\0\0", b"\0\1")
_LDH = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
#: Of names, and of common names that are no host names.
_NAME = _LDH + b".*"
#: PrintableString, UTF8String, IA5String, TeletexString: ASCII is written the same in all.
_STRINGS = frozenset((0x0C, 0x13, 0x14, 0x16))
_FIRST = itemgetter(0)
#: The last two labels of a name spelt backwards, behind the tag of the one after it.
_TAIL = re.compile(rb"\x82([^.\x82]+\.?[^.\x82]*)")
#: Entries whose names are looked at together.
_BATCH = 256
#: Values that are remembered: issuers have few.
_REMEMBERED = 20_000


class Prefilter:
    """For one watch list. Owned by one thread at a time."""

    def __init__(self, watch: WatchList) -> None:
        self._watch = watch
        # Whether a common name, or organisation, is of no concern; by tag, length and text.
        self._common_names: dict[bytes, bool] = {}
        self._organisations: dict[bytes, bool] = {}
        # As `_TAIL` finds them in names spelt backwards: behind a name of two labels stands its length's octet.
        self._tails = frozenset(
            each[::-1] + more
            for each in watch.tails
            for more in (b"", bytes((min(len(each), 0x7F),)).lower())
        )

    def suspects(self, leaves: Sequence[bytes]) -> list[int]:
        """Positions of leaves (MerkleTreeLeaf) that must be read in full."""
        watch = self._watch
        if watch.is_everything:
            return list(range(len(leaves)))
        if not watch:
            return []
        found: list[int] = []
        for first in range(0, len(leaves), _BATCH):
            batch = leaves[first : first + _BATCH]
            names: list[bytes] = []
            odd: list[int] = []
            add = names.append
            span = self._names
            for position, leaf in enumerate(batch):
                try:
                    if not span(leaf, add):
                        odd.append(position)
                except IndexError:
                    odd.append(position)  # cut off somewhere
            if not self._are_plain(b"".join(names)):
                # Somewhere among them: one after the other.
                odd = [position for position, leaf in enumerate(batch) if not self.is_plain(leaf)]
            found += [first + position for position in odd]
        return found

    def is_plain(self, leaf: bytes) -> bool:
        """True: there is nothing in it that is watched."""
        names: list[bytes] = []
        try:
            return self._names(leaf, names.append) and self._are_plain(b"".join(names))
        except IndexError:
            return False

    def _names(self, leaf: bytes, add: Callable[[bytes], None]) -> bool:
        """False: the entry is not plain. True: it is if all names are that were given to `add`, each as a dNSName is written in
        a subjectAltName, one behind the other."""
        # Positions in place, for speed: see `leaves.certificate_span`.
        kind = leaf[10:12]
        start = 15 if kind == b"\0\0" else 47
        end = start + (leaf[start - 3] << 16 | leaf[start - 2] << 8 | leaf[start - 1])
        if (
            kind not in _TYPES
            or leaf[:2] != b"\0\0"
            or end + 2 + (leaf[end] << 8 | leaf[end + 1]) != len(leaf)
        ):
            return False
        # 1. One subjectAltName, in the usual form. Backwards: Python does that in half of the time.
        find = leaf.rfind
        place = find(b"\x55\x1d\x11", start, end)
        if place < 0 or find(b"\x55\x1d\x11", start, place) >= 0:
            return False
        value = place + 3
        if leaf[value] == 1:
            if leaf[value : value + 3] != b"\1\1\xff":
                return False
            value += 3
        # OCTET STRING and SEQUENCE: each of short, one-byte or two-byte length.
        length = leaf[value + 1]
        inner = value + 2
        if length > 0x7F:
            if length == 0x81:
                length, inner = leaf[value + 2], value + 3
            elif length == 0x82:
                length, inner = leaf[value + 2] << 8 | leaf[value + 3], value + 4
            else:
                return False
        after = inner + length
        if leaf[value] != 4 or after > end or leaf[inner] != 0x30 or leaf[place - 2 : place] != b"\6\3":
            return False
        # The extension ends with this value, so that no reader takes a later one.
        length, before = leaf[place - 3], leaf[place - 4]
        if before == 0x30:
            # The same octets could be the end of a longer header: then nobody knows which it is.
            if length > 0x7F or leaf[place - 6 : place - 4] == b"\x30\x82":
                return False
        elif leaf[place - 6 : place - 4] == b"\x30\x82":
            length |= before << 8
        elif before != 0x81 or leaf[place - 5] != 0x30:
            return False
        if place - 2 + length != after:
            return False
        length = leaf[inner + 1]
        first = inner + 2
        if length > 0x7F:
            if length == 0x81:
                length, first = leaf[inner + 2], inner + 3
            elif length == 0x82:
                length, first = leaf[inner + 2] << 8 | leaf[inner + 3], inner + 4
            else:
                return False
        if first + length != after or length < 3:
            return False
        names = leaf[first:after]
        if b"\x82\x81" in names:
            # Of 128 bytes and more, with a length of two octets: looked at here.
            if not self._long_names(names, add):
                return False
        else:
            add(names)
        # 3. Common names, the issuer's too.
        place = find(b"\x55\x04\x03", start, end)
        known = self._common_names
        left = MOST_PLACES
        while place >= 0:
            left -= 1
            value = place + 5
            key = leaf[place + 3 : value + leaf[place + 4]]
            plain = known.get(key)
            if plain is None:
                if key[1] > 0x7F or value + key[1] > end:
                    return False
                plain = self._common_name(key, add)
            if not plain or not left:
                return False
            place = find(b"\x55\x04\x03", start, place)
        # 4. What else is watched.
        watch = self._watch
        if watch.organisations and not self._organisations_are_plain(leaf, start, end):
            return False
        if watch.keys:
            key_info = spki(leaf[start:end])
            return key_info is not None and sha256(key_info).digest() not in watch.keys
        return True

    def _are_plain(self, names: bytes) -> bool:
        """2. Of dNSNames one behind the other: none is watched, or has more than one reading."""
        if not names:
            return True
        pieces = names.split(b"\x82")
        if pieces[0]:
            return False
        del pieces[0]
        if not all(pieces):
            return False
        octets = bytes(map(_FIRST, pieces))
        # The octet in front of each is its length: they are parted here as a parser parts them.
        if [*map(len, pieces)] != [each + 1 for each in octets] or b"\0" in octets:
            return False
        # Nothing is in them but the characters of names, the tags and the lengths.
        if len(names.translate(None, _NAME)) != len(pieces) + len(octets.translate(None, _NAME)):
            return False
        tails = _TAIL.findall(b"\x82" + names.lower()[::-1])
        if len(tails) != len(pieces) or not self._tails.isdisjoint(tails):
            return False
        together = b"\0".join(tails) + b"\0"
        if b"*" in together or b".\0" in together:
            return False
        if b"--nx" in together and not all(map(_is_canonical, tails)):
            return False
        watch = self._watch
        if watch.single and any(each[1:].rpartition(b".")[2].lower() in watch.single for each in pieces):
            return False
        return not (watch.networks and any(each[-1:].isdigit() for each in pieces))

    def _long_names(self, names: bytes, add: Callable[[bytes], None]) -> bool:
        """A name of 128 bytes and more is given to `add` as its last labels: nothing else of it counts."""
        position, end = 0, len(names)
        while position < end:
            if names[position] != 0x82:
                return False
            length, first = names[position + 1], position + 2
            if length == 0x81:
                length, first = names[position + 2], position + 3
                if length < 0x80:
                    return False
            elif length > 0x7F:
                return False
            position = first + length
            name = names[first:position]
            if position > end or name.translate(None, _NAME):
                return False
            if length > 0x7F:
                name = b".".join(name.split(b".")[-3:])
                if len(name) > 0x7F:
                    return False
            add(bytes((0x82, len(name))) + name)
        return True

    def _common_name(self, key: bytes, add: Callable[[bytes], None]) -> bool:
        """By tag, length, text. A host name is given to `add`; anything else is read in full, once."""
        text = key[2:]
        if key[0] not in _STRINGS or len(text) != key[1]:
            return False
        if text and b"." in text and not text.translate(None, _NAME):
            add(b"\x82" + key[1:])
            return True
        plain = text.isascii() and self._has_no_match(key[0], text)
        if len(self._common_names) >= _REMEMBERED:
            self._common_names.clear()
        self._common_names[key] = plain
        return plain

    def _has_no_match(self, tag: int, text: bytes) -> bool:
        watch = self._watch
        return not any(
            watch.matching(labels) or watch.matching_text(labels)
            for reading in texts(text, tag)
            for labels in hosts(reading)
        )

    def _organisations_are_plain(self, leaf: bytes, start: int, end: int) -> bool:
        known = self._organisations
        place = leaf.rfind(b"\x55\x04\x0a", start, end)
        left = MOST_PLACES
        while place >= 0:
            left -= 1
            value = place + 5
            key = leaf[place + 3 : value + leaf[place + 4]]
            plain = known.get(key)
            if plain is None:
                if key[1] > 0x7F or value + key[1] > end:
                    return False
                plain = key[0] in _STRINGS and not any(
                    folded(each) in self._watch.organisations for each in texts(key[2:], key[0])
                )
                if len(known) >= _REMEMBERED:
                    known.clear()
                known[key] = plain
            if not plain or not left:
                return False
            place = leaf.rfind(b"\x55\x04\x0a", start, place)
        return True


def _is_canonical(tail: bytes) -> bool:
    """Of the last labels, spelt backwards: each A-label among them has one reading, itself."""
    if b"--nx" not in tail:
        return True
    text = tail[::-1].decode("latin-1").lstrip("".join(map(chr, range(0x2D))))
    return all(
        "xn--" not in each or (each.startswith("xn--") and a_label_is_canonical(each))
        for each in text.split(".")
    )
