"""A random order of the numbers below a size, computed and not held: what comes at a step is known from the step alone."""

from collections.abc import Iterator


class Shuffle:
    """A permutation of `range(size)`, chosen by the seed: the same for the same two, now and after a restart.

    Multiplications by odd numbers and shifted exclusive-ors are bijections on k bits (as in the finalizers of hash
    functions); steps that lead beyond the size are passed over, less than half of them.
    """

    __slots__ = ("_factors", "_mask", "_shift", "_start", "size", "steps")

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        bits = max(size - 1, 0).bit_length()
        #: Steps in all; some lead nowhere.
        self.steps = 1 << bits if size else 0
        self._mask = (1 << bits) - 1
        self._shift = max(1, bits // 2)
        # Each taken from other bits of the seed, and odd, so that it can be undone.
        self._factors = tuple((seed >> at) * 0x9E3779B97F4A7C15 + 0x632BE5AB | 1 for at in (0, 21, 42))
        self._start = seed >> 7

    def at(self, step: int) -> int | None:
        """The number that comes at a step. None: none does."""
        mask, shift = self._mask, self._shift
        one, two, three = self._factors
        number = (step + self._start) * one & mask
        number = (number ^ number >> shift) * two & mask
        number = (number ^ number >> shift) * three & mask
        number ^= number >> shift
        return number if number < self.size else None

    def from_step(self, step: int) -> Iterator[tuple[int, int]]:
        """(step, number) of this step and those after it."""
        for each in range(step, self.steps):
            number = self.at(each)
            if number is not None:
                yield each, number
