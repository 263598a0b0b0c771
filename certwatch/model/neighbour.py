"""Another place whose leaf has a name in common with this one's."""

from dataclasses import dataclass
from datetime import datetime

from certwatch.model.certificate import Certificate
from certwatch.model.location import LocationURI


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    location_id: int
    location: LocationURI
    #: The leaf there now, another one than here.
    certificate: Certificate
    #: Since when it is there.
    since: datetime
