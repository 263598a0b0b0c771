"""Hosts that are expected, held against those that are seen, by where they were named (M9)."""

from collections.abc import Callable, Sequence

from certwatch.model.observation import Observation
from certwatch.plugins.collector import WHOLE, Part
from certwatch.telemetry.metrics import TARGETS, TARGETS_SEEN
from collectors.tls.targets import Target


class Tally:
    """Of one scan. What nobody said to be there, as addresses of networks, is not expected."""

    def __init__(self, collector: str, part: Part = WHOLE) -> None:
        self._collector = collector
        self._part = part
        self._expected: dict[str, frozenset[str]] = {}
        self._seen: set[str] = set()

    def expect(self, source: str, targets: Sequence[Target]) -> None:
        """`source`: "targets" (the config's own), "file_sd", "http_sd", "dns"."""
        texts = frozenset(each.text for each in targets if not each.is_guess and self._part.has(each.text))
        self._expected[source] = self._expected.get(source, frozenset()) | texts

    def see(self, observation: Observation) -> None:
        if observation.chain:
            self._seen.add(observation.scope)

    def tell(self, take: Callable[[str, int, int], None] | None = None) -> None:
        """When everything was looked at. `take`: whoever is told. None: the metrics of this process."""
        for source, texts in self._expected.items():
            expected, seen = len(texts), len(texts & self._seen)
            if take is not None:
                take(source, expected, seen)
            else:
                TARGETS.labels(self._collector, source).set(expected)
                TARGETS_SEEN.labels(self._collector, source).set(seen)
