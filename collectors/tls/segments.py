"""Networks less what is excluded, and less each other: as disjoint pieces that can be counted and indexed. Pure.

A sweep over the places where something begins or ends, so that the work goes with what was written and not with the
number of addresses.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import accumulate
from typing import NamedTuple

from collectors.tls.targets import Ports, Target


class Segment(NamedTuple):
    """Some of a target's addresses in a row, with those of its ports that are left for them."""

    target: Target
    version: int
    first: int
    addresses: int
    ports: Ports


class Claim(NamedTuple):
    """Who has these addresses and ports. An earlier order comes first; exclusions come before all."""

    order: int
    #: None: an exclusion.
    target: Target | None
    version: int
    first: int
    #: Inclusive.
    last: int
    ports: Ports
    #: True: what is left of it becomes segments; else it only takes away.
    wanted: bool


def without(ports: Ports, taken: Iterable[Ports]) -> Ports:
    """Ports less others; sorted and disjoint as they were."""
    left = list(ports)
    for others in taken:
        for other in others:
            left = [
                piece
                for span in left
                for piece in (
                    range(span.start, min(span.stop, other.start)),
                    range(max(span.start, other.stop), span.stop),
                )
                if piece
            ]
    return tuple(left)


def segments(claims: Sequence[Claim]) -> list[Segment]:
    """What is left of the wanted claims, in order of address. Claims of the same addresses and ports: the first has it."""
    made: list[Segment] = []
    for version in (4, 6):
        mine = [each for each in claims if each.version == version]
        if not any(each.wanted for each in mine):
            continue
        begins = sorted((each.first, True, number) for number, each in enumerate(mine))
        ends = sorted((each.last + 1, False, number) for number, each in enumerate(mine))
        active: dict[int, Claim] = {}
        at = 0
        for place, is_begin, number in merge(ends, begins):
            if place > at and any(each.wanted for each in active.values()):
                made.extend(_left(active, version, at, place - at))
            at = place
            if is_begin:
                active[number] = mine[number]
            else:
                del active[number]
    return _joined(made)


def _left(active: dict[int, Claim], version: int, first: int, count: int) -> Iterator[Segment]:
    taken: list[Ports] = []
    for claim in sorted(active.values(), key=lambda each: each.order):
        if claim.wanted and claim.target is not None:
            ports = without(claim.ports, taken)
            if ports:
                yield Segment(claim.target, version, first, count, ports)
        taken.append(claim.ports)


def _joined(pieces: list[Segment]) -> list[Segment]:
    """Neighbours that differ in nothing are one."""
    last: dict[int, int] = {}
    made: list[Segment] = []
    for piece in pieces:
        index = last.get(id(piece.target))
        if index is not None:
            before = made[index]
            if before.first + before.addresses == piece.first and before.ports == piece.ports:
                made[index] = before._replace(addresses=before.addresses + piece.addresses)
                continue
        last[id(piece.target)] = len(made)
        made.append(piece)
    return made


class Spread:
    """Every address and port of some segments, by number."""

    def __init__(self, pieces: Sequence[Segment]) -> None:
        self.segments = pieces
        self._widths = [sum(len(span) for span in each.ports) for each in pieces]
        self._ends = list(
            accumulate(each.addresses * width for each, width in zip(pieces, self._widths, strict=True))
        )
        self.size = self._ends[-1] if self._ends else 0

    def at(self, number: int) -> tuple[Segment, int, int]:
        """(segment, address, port) of a number below `size`."""
        index = bisect_right(self._ends, number)
        piece, width = self.segments[index], self._widths[index]
        offset = number - (self._ends[index - 1] if index else 0)
        address, place = divmod(offset, width)
        for span in piece.ports:
            if place < len(span):
                return piece, piece.first + address, span[place]
            place -= len(span)
        raise IndexError(number)
