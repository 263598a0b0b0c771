"""What a benchmark reports: one row of the table that `make bench` prints."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    #: What was measured, as the table names it.
    what: str
    #: The figure, in `unit`.
    measured: float
    unit: str
    #: The bound, in `unit`. None: for information.
    target: float | None = None
    #: True: measured must be at least the target; False: at most.
    at_least: bool = False
    #: How it was got: sizes, peer and its own figure, repetitions.
    how: str = ""

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.measured >= self.target if self.at_least else self.measured <= self.target
