"""Parts of a scan that others do: the words in which a store tells of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from certwatch.model.observation import ScanID

#: How a worker hands in.
Via = Literal["postgresql", "push"]


class SupersededError(Exception):
    """The shard is another worker's now, or its scan is over: nothing more is taken from this claim."""


class MissingBatchError(Exception):
    """A batch of this claim that comes before this one was not handed in."""


class OthersPlaceError(Exception):
    """Of a place that others watch, and that its collector may not speak of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """What a batch may say nothing of: places that only others watch."""

    #: Those of the batch that are asked about.
    places: Sequence[str]
    #: Names of the collectors whose places they must not be.
    collectors: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A shard in a worker's hands."""

    shard: int
    claim: int
    scan: ScanID
    part: int
    parts: int
    #: JSON of `certwatch.zones.spec`.
    spec: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A shard that was brought to its end."""

    part: int
    parts: int
    #: Who did it. None: nobody could.
    worker: int | None
    #: JSON of `certwatch.zones.outcome`. None: too many workers lost it.
    outcome: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A shard that workers must be told of."""

    shard: int
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    waiting: int
    running: int
    done: int
    #: Locations that were changed so far.
    changed: int
    #: Shards that were taken from workers just now, since they were silent.
    taken_over: int
    #: To be put into the queue.
    tickets: tuple[Ticket, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    zone: str
    name: str
    via: str
    version: str
    #: Shards that it may do at once, and does.
    slots: int
    running: int
    #: Since it said something.
    silent_seconds: float
    alive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneState:
    zone: str
    waiting: int
    running: int
    #: How long the shard that waits longest does. None: none waits.
    oldest_seconds: float | None
