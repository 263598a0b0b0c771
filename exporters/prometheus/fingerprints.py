"""Fingerprints by small numbers, in some 45 bytes each: a dictionary of them takes 160."""

from array import array

from certwatch.model.certificate import Fingerprint

_SIZE = 32
#: In a slot: never used, and used by one that is gone.
_FREE, _GONE = 0, 0xFFFFFFFF
_FIRST_SLOTS = 1024


class Fingerprints:
    """An open hash table with linear probing. Its hash is Python's, which is another one in each process: nobody can make
    certificates that collide."""

    __slots__ = ("_filled", "_free", "_kept", "_slots")

    def __init__(self) -> None:
        #: Numbers, by hash.
        self._slots = array("I", [_FREE]) * _FIRST_SLOTS
        #: Slots that are not `_FREE`.
        self._filled = 0
        #: By number, one after the other. 0 is nobody's.
        self._kept = bytearray(_SIZE)
        #: Numbers to be given out again.
        self._free = array("I")

    def __len__(self) -> int:
        return len(self._kept) // _SIZE - 1 - len(self._free)

    def __getitem__(self, number: int) -> Fingerprint:
        return Fingerprint(bytes(self._kept[number * _SIZE : (number + 1) * _SIZE]))

    def find(self, fingerprint: Fingerprint) -> int:
        """Its number. 0: it is not here."""
        return self._slots[self._slot(fingerprint)]

    def add(self, fingerprint: Fingerprint) -> int:
        """One that is not here."""
        if self._filled * 3 >= len(self._slots) * 2:
            self._rebuild()
        if self._free:
            number = self._free.pop()
            self._kept[number * _SIZE : (number + 1) * _SIZE] = fingerprint
        else:
            number = len(self._kept) // _SIZE
            self._kept += fingerprint
        self._slots[self._slot(fingerprint)] = number
        self._filled += 1
        return number

    def remove(self, number: int) -> Fingerprint:
        """One that is here. Its number is another's soon."""
        fingerprint = self[number]
        self._slots[self._slot(fingerprint)] = _GONE
        self._free.append(number)
        return fingerprint

    def _slot(self, fingerprint: Fingerprint) -> int:
        """Where its number stands, or would."""
        slots, kept = self._slots, self._kept
        mask = len(slots) - 1
        slot = hash(fingerprint) & mask
        while (number := slots[slot]) != _FREE:
            if number != _GONE and kept.startswith(fingerprint, number * _SIZE):
                return slot
            slot = (slot + 1) & mask
        return slot

    def _rebuild(self) -> None:
        """With slots for twice as many as there are, and without those that are gone."""
        size = _FIRST_SLOTS
        while size < 2 * len(self):
            size *= 2
        free = set(self._free)
        self._slots = array("I", [_FREE]) * size
        self._filled = len(self)
        for number in range(1, len(self._kept) // _SIZE):
            if number not in free:
                self._slots[self._slot(self[number])] = number
