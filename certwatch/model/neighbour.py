"""Other places whose leaf has a name, or the key, in common with this one's."""

from dataclasses import dataclass
from datetime import datetime

from certwatch.model.certificate import Certificate
from certwatch.model.location import Location, LocationURI


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    location_id: int
    location: LocationURI
    #: The leaf there now, another one than here.
    certificate: Certificate
    #: Since when it is there.
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """Has, or had, the same issuance as leaf: the certificate, or its precertificate."""

    location_id: int
    #: Without labels.
    location: Location
    #: False: it has it no more, or nobody sees the place any more.
    is_live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharer:
    """Has the same key."""

    location_id: int
    location: Location
    #: The team that answers for it. Empty: nobody does.
    owner: str
    #: The leaf there: the same as here, or another one of that key.
    certificate: Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A TLS endpoint that is looked at."""

    location: LocationURI
    #: It has shown a certificate, though the last look may have failed.
    answered: bool
