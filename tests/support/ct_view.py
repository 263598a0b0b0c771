"""An inventory view in memory: what collectors that go on where they ended read. Only what was recorded last is known."""

from collections.abc import Iterable, Sequence

from certwatch.model.finding import Finding
from certwatch.model.location import Location, LocationURI
from certwatch.model.observation import Observation, Scan
from certwatch.model.sighting import Served
from certwatch.x509 import der


class Memory:
    def __init__(self) -> None:
        self.kept: dict[str, Observation] = {}
        self.errors: dict[str, str] = {}

    def record(self, said: Observation) -> None:
        if said.error is not None and not said.chain and not said.facts:
            self.errors[said.location] = said.error.message
            return
        self.errors.pop(said.location, None)
        self.kept[said.location] = said

    def served(self, uri: LocationURI) -> Served | None:
        said = self.kept.get(uri)
        return None if said is None else _served(said)

    def live(self) -> Iterable[Served]:
        return [_served(each) for each in self.kept.values()]

    def open_findings(self) -> Iterable[Finding]:
        return ()

    def last_scans(self) -> Sequence[Scan]:
        return ()


def _served(said: Observation) -> Served:
    return Served(
        id=1,
        location=Location(uri=said.location),
        collectors=("test",),
        chain=tuple(der.read(each) for each in said.chain),
        facts=said.facts,
        error=said.error,
        failing_since=None,
        first_seen=said.observed_at,
        last_seen=said.observed_at,
        last_served=said.observed_at,
        retired_at=None,
    )
