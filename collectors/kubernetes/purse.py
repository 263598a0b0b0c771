"""What opening keystores may cost. Counts of iterations are data from outside, and whoever may write Secrets into one namespace could
have all the cluster's wait for theirs."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from certwatch.x509.pbe import MAX_ITERATIONS, Undecryptable, Work

#: Of one object, whatever many keystores it has.
OBJECT_ITERATIONS = 2 * MAX_ITERATIONS
#: Of one namespace within an hour: some minutes. A keystore as programs write it takes 6,000 to 150,000.
NAMESPACE_ITERATIONS = 200_000_000
_SECONDS = 3600.0
_NAMESPACES = 1000


@dataclass(slots=True)
class Purse(Work):
    """Of one object. Owned by the one who reads it."""

    iterations: int = OBJECT_ITERATIONS
    #: Takes from what the namespace has. False: so much is not left.
    take: Callable[[int], bool] = lambda iterations: True
    #: The namespace had not enough: the object is to be looked at again.
    is_postponed: bool = False

    def spend(self, iterations: int, times: int = 1) -> None:
        # No zero-argument super in a dataclass with slots.
        Work.spend(self, iterations, times)
        if not self.take(iterations * times):
            self.is_postponed = True
            raise Undecryptable(
                "too-much-work",
                f"is left for later: keystores of its namespace asked for more than {NAMESPACE_ITERATIONS} iterations"
                " within an hour",
            )


@dataclass(slots=True)
class Purses:
    """Used in several threads."""

    most: int = NAMESPACE_ITERATIONS
    clock: Callable[[], float] = time.monotonic
    #: By namespace: what is left, and when that was.
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def of(self, namespace: str) -> Purse:
        return Purse(take=lambda iterations: self._take(namespace, iterations))

    def _take(self, namespace: str, iterations: int) -> bool:
        now = self.clock()
        with self._lock:
            left, at = self._left.get(namespace, (float(self.most), now))
            left = min(self.most, left + (now - at) * self.most / _SECONDS)
            is_enough = iterations <= left
            if namespace not in self._left and len(self._left) >= _NAMESPACES:
                # The one that has not been heard of for the longest time has most of it again.
                self._left.pop(next(iter(self._left)))
            self._left.pop(namespace, None)
            self._left[namespace] = (left - iterations if is_enough else left, now)
            return is_enough
