"""Serial numbers met in one reading, in little memory: sixteen bytes each, in a table of twice the size."""

from array import array

#: Beyond it, further serial numbers are not compared: 128 MiB.
MOST = 4_000_000
_64_BITS = 2**64 - 1


class Serials:
    """Which certificate a serial number of a CA belongs to. Open addressing with linear steps; owned by one reading."""

    def __init__(self) -> None:
        self._size = 1 << 12
        self._keys = array("Q", bytes(8 * self._size))
        self._values = array("Q", bytes(8 * self._size))
        self.count = 0

    def other(self, name: str, fingerprint: bytes) -> bytes:
        """The first 8 bytes of another certificate's fingerprint with which `name` (CA and serial) was met before. Empty:
        it was not. If it is new it is kept."""
        # Keyed by a secret of this process (SipHash): nobody can choose names that meet.
        key = hash(name) & _64_BITS or 1
        value = int.from_bytes(fingerprint[:8], "big")
        mask = self._size - 1
        slot = key & mask
        keys = self._keys
        while keys[slot]:
            if keys[slot] == key:
                return b"" if self._values[slot] == value else self._values[slot].to_bytes(8, "big")
            slot = (slot + 1) & mask
        if self.count < MOST:
            keys[slot], self._values[slot] = key, value
            self.count += 1
            if self.count * 2 > self._size:
                self._grow()
        return b""

    def _grow(self) -> None:
        keys, values = self._keys, self._values
        self._size *= 2
        self._keys = array("Q", bytes(8 * self._size))
        self._values = array("Q", bytes(8 * self._size))
        mask = self._size - 1
        for key, value in zip(keys, values, strict=True):
            if key:
                slot = key & mask
                while self._keys[slot]:
                    slot = (slot + 1) & mask
                self._keys[slot], self._values[slot] = key, value
