"""Somebody has taken note of a finding: until when, who, and why."""

from dataclasses import dataclass
from datetime import datetime
from typing import NewType

from certwatch.model.certificate import Fingerprint
from certwatch.model.location import LocationURI

SilenceID = NewType("SilenceID", int)

#: Longest reason, author, condition.
MAX_TEXT = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """What a finding is about: the same when it is resolved and opens again."""

    rule: str
    location: LocationURI
    #: None: it concerns the location.
    fingerprint: Fingerprint | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A finding that it covers stays open and is shown; nobody is told of it."""

    id: SilenceID
    #: One matter, or a condition in CEL over `finding`, `cert`, `location`.
    covers: Matter | str
    until: datetime
    author: str
    reason: str
    created_at: datetime
    #: When it was ended before its time. None: it was not.
    ended_at: datetime | None = None

    def holds(self, now: datetime) -> bool:
        return self.ended_at is None and now < self.until
