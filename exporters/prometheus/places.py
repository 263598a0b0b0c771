"""What each location adds to the sums, so that it can be taken away again: 13 bytes each, in pages."""

from struct import Struct
from typing import NamedTuple

from certwatch.model.location import Standing

#: Locations on a page.
PAGE = 1024
#: Group, leaf, rest, flags.
_RECORD = Struct("<IIIB")
_SIZE = _RECORD.size
_EMPTY = bytes(_SIZE * PAGE)
#: Flags: something is there; its last look failed; a standing for which the end of its leaf counts.
_THERE, _FAILING = 1, 2
_STANDINGS: tuple[Standing | None, ...] = (None, "served", "stored", "recorded")
_SHIFT = 2


class Counted(NamedTuple):
    """Everything by numbers that others have given."""

    group: int
    #: The leaf's, 0: there is none.
    leaf: int
    #: Of the rest of its chain.
    rest: int
    failing: bool
    #: As what the end of its leaf counts. None: it does not.
    standing: Standing | None


class Places:
    """By the location's id. Ids are given out in order, so that a page is well filled or is not there."""

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def get(self, id: int) -> Counted | None:
        number, place = divmod(id, PAGE)
        page = self._pages.get(number)
        if page is None:
            return None
        group, leaf, rest, flags = _RECORD.unpack_from(page, place * _SIZE)
        if not flags:
            return None
        return Counted(group, leaf, rest, bool(flags & _FAILING), _STANDINGS[flags >> _SHIFT])

    def put(self, id: int, counted: Counted) -> None:
        number, place = divmod(id, PAGE)
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = bytearray(_EMPTY)
        flags = _THERE | (_FAILING if counted.failing else 0) | _STANDINGS.index(counted.standing) << _SHIFT
        _RECORD.pack_into(page, place * _SIZE, counted.group, counted.leaf, counted.rest, flags)

    def remove(self, id: int) -> None:
        """One that is there."""
        number, place = divmod(id, PAGE)
        page = self._pages[number]
        page[place * _SIZE : (place + 1) * _SIZE] = bytes(_SIZE)
        if page == _EMPTY:
            del self._pages[number]
