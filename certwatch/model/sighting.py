"""What is served where, and since when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from certwatch.model.certificate import Certificate
from certwatch.model.location import Location, LocationURI
from certwatch.model.observation import Fact, LookError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """The span in which a location served a certificate."""

    location: LocationURI
    certificate: Certificate
    #: Place in the chain, 0 = leaf.
    position: int
    first_seen: datetime
    last_seen: datetime
    #: When the location was seen to serve something else, or was retired. None: still served.
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is known of a location now: rules judge it, exporters show it.

    After a failed look `chain` is still the last one seen, `error` says why, and `last_served` tells its age.
    """

    id: int
    location: Location
    #: Names of the collectors that watch it, sorted.
    collectors: tuple[str, ...]
    #: As last presented, leaf first. Empty: never seen.
    chain: tuple[Certificate, ...]
    #: The stable ones, of the look that `chain` is from; never seen: of the last look.
    facts: Mapping[str, Fact]
    #: Of the last look; beside a chain it says what else could not be read.
    error: LookError | None
    #: First look of the present run of looks that saw nothing (no chain, nor facts instead). None: the last one did.
    failing_since: datetime | None
    first_seen: datetime
    #: Last look, whatever came of it.
    last_seen: datetime
    #: Last look that saw something. None: never.
    last_served: datetime | None
    #: When nobody saw it any more. None: it is live.
    retired_at: datetime | None
    #: The team that answers for it; empty: nobody.
    owner: str = ""

    @property
    def leaf(self) -> Certificate | None:
        return self.chain[0] if self.chain else None
