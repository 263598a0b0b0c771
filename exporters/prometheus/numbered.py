"""Few different values that many have, by small numbers."""

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Numbered(Generic[T]):
    """A value has its number for as long as somebody has taken it; then the number may be another's."""

    __slots__ = ("_free", "_numbers", "_uses", "_values")

    def __init__(self) -> None:
        self._numbers: dict[T, int] = {}
        self._values: list[T | None] = []
        self._uses: list[int] = []
        self._free: list[int] = []

    def take(self, value: T) -> int:
        number = self._numbers.get(value)
        if number is None:
            if self._free:
                number = self._free.pop()
            else:
                number = len(self._values)
                self._values.append(None)
                self._uses.append(0)
            self._numbers[value], self._values[number] = number, value
        self._uses[number] += 1
        return number

    def release(self, number: int) -> None:
        self._uses[number] -= 1
        if not self._uses[number]:
            del self._numbers[self[number]]
            self._values[number] = None
            self._free.append(number)

    def __getitem__(self, number: int) -> T:
        value = self._values[number]
        assert value is not None  # noqa: S101
        return value
