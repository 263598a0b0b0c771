"""A leaf of the past, and when another one took its place."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    replaced_at: datetime
    #: Validity of the one that was replaced.
    not_before: datetime
    not_after: datetime

    @property
    def left(self) -> float:
        """The part of its lifetime that it had left. Below zero: it had expired."""
        return (self.not_after - self.replaced_at) / (self.not_after - self.not_before)
