"""How looks came out, for the metrics of whoever tells them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from certwatch.model.observation import Observation
from certwatch.telemetry.metrics import HANDSHAKE_SECONDS, OBSERVATIONS


@dataclass(slots=True)
class Counted:
    #: By outcome: "ok" or an error kind.
    outcomes: Counter[str] = field(default_factory=Counter)
    #: Seconds of each handshake that succeeded.
    handshakes: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, batch: Sequence[Observation], nothing_there: Mapping[str | None, int]) -> "Counted":
        """`nothing_there`: looks at places that were only guessed and are none, by kind of error."""
        outcomes = Counter("ok" if each.error is None else each.error.kind for each in batch)
        # Nobody said that there is something: no service has failed.
        for kind, count in nothing_there.items():
            outcomes[kind or "ok"] -= count
        seconds = [each.facts.get("handshake_seconds") for each in batch if each.chain]
        return cls(outcomes, [float(each) for each in seconds if isinstance(each, int | float)])

    def tell(self, collector: str, kind: str) -> None:
        for outcome, count in self.outcomes.items():
            OBSERVATIONS.labels(collector, kind, outcome).inc(count)
        handshakes = HANDSHAKE_SECONDS.labels(collector)
        for seconds in self.handshakes:
            handshakes.observe(seconds)
