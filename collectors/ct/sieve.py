"""Hashing every entry, and reading those that may be of concern: what is done in a thread."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from certwatch.ct.leaves import Entry, parse_leaf
from certwatch.ct.malformed import Malformed
from certwatch.ct.names import Match, match
from certwatch.ct.prefilter import Prefilter
from certwatch.ct.watch import WatchList


@dataclass(frozen=True, slots=True)
class Sieve:
    """What is watched, ready to be looked for."""

    watch: WatchList
    prefilter: Prefilter

    @classmethod
    def make(cls, watch: WatchList) -> "Sieve":
        return cls(watch, Prefilter(watch))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    #: In the block.
    position: int
    #: None: the leaf is of a form that nobody knows.
    entry: Entry | None
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifted:
    hashes: list[bytes]
    hits: list[Hit]
    #: How many were read in full.
    suspects: int
    #: Of the last entry, milliseconds since 1970.
    timestamp: int


def sift(leaves: Sequence[bytes], sieve: Sieve) -> Sifted:
    """Hash all; read those that the prefilter does not pass over."""
    make = sha256
    hashes = [make(b"\0" + leaf).digest() for leaf in leaves]
    suspects = sieve.prefilter.suspects(leaves)
    hits: list[Hit] = []
    for position in suspects:
        entry: Entry | None
        try:
            entry = parse_leaf(leaves[position])
            matches = match(entry.certificate, sieve.watch)
        except Malformed:
            entry, matches = None, match(leaves[position], sieve.watch)
        if matches:
            hits.append(Hit(position=position, entry=entry, matches=tuple(matches)))
    last = leaves[-1][2:10] if leaves else b""
    return Sifted(hashes=hashes, hits=hits, suspects=len(suspects), timestamp=int.from_bytes(last, "big"))
