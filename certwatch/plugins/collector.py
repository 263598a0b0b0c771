"""What a collector promises: it looks, it never judges, it never writes."""

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol
from zlib import crc32

from pydantic import BaseModel, ConfigDict

from certwatch.model.clock import Clock
from certwatch.model.location import LocationURI
from certwatch.model.observation import Continued, ErrorKind, Gone, Incomplete, Observation, Unchanged
from certwatch.plugins.view import InventoryView


class CollectorConfig(BaseModel):
    """Base of every collector's `Config`: its own keys. The keys that all have (name, kind, every, labels) are
    the core's (`certwatch.config.schema`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def after(self) -> Collection[str]:
        """Names of collectors whose places it takes its targets from: its first run waits for theirs."""
        return ()


class CollectError(Exception):
    """The whole run is impossible (credentials refused, nothing configured exists): the scan fails, and nothing
    but its own status changes. One location's error is an `Observation` with `error`, never this."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def no_progress(done: int, total: int | None) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One of several equal parts of what a collector looks at: together they are all of it, and no two overlap,
    wherever and whenever each of them is looked at."""

    #: From 0.
    index: int
    count: int

    @staticmethod
    def holding(name: str, count: int) -> int:
        """Index of the part that what is called so belongs to; the same on every machine."""
        return crc32(name.encode("utf-8", "surrogatepass")) % count

    def has(self, name: str) -> bool:
        return self.holding(name, self.count) == self.index

    def of(self, size: int) -> range:
        """Which of the numbers below `size` belong to this part: of all that lies together, each part has some."""
        return range(self.index, size, self.count)


#: What is not divided.
WHOLE = Part(index=0, count=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorContext:
    clock: Clock
    #: Called with looks done and, where known, looks in all; cheap, from the event loop.
    progress: Callable[[int, int | None], None] = no_progress
    #: What is known already, for collectors that follow it (revocation). None: there is no inventory, as in `scan`.
    view: InventoryView | None = None
    #: Where this collector may keep what it must know after a restart; it makes the folder. None: there is no such place.
    state_folder: Path | None = None
    #: Called at the end of a scan with a list of targets, how many it names, and how many of them showed a certificate.
    #: None: they are told as metrics of this process.
    tell_targets: Callable[[str, int, int], None] | None = None
    #: What of its world `collect` looks at; a collector that is not `Divisible` is only ever asked for all of it.
    part: Part = WHOLE


class Collector(Protocol):
    #: Pydantic model of the collector's own keys: validation, JSON Schema and docs are made from it.
    Config: ClassVar[type[CollectorConfig]]

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        """Cheap, without I/O."""

    def collect(self) -> AsyncIterator[Observation | Incomplete | Unchanged | Continued]:
        """Look once at everything, in any order.

        Ends: every part of the world was looked at, but for those named by an `Incomplete`; of those named by an `Unchanged`
        only what is new was told, and those named by a `Continued` were begun by an earlier call. Raises
        `CollectError`: the run was impossible. May be called again after it has ended; never twice at once.
        Closing the iterator (cancellation) releases everything within a second. Holds no more than a bounded
        number of results: it waits when they are not taken.
        """
        ...


class Bounded(Collector, Protocol):
    """A collector whose places are of few kinds: from a worker that hands in over HTTPS no others are taken."""

    #: Schemes of their URIs.
    location_kinds: ClassVar[frozenset[str]]


class Confined(Collector, Protocol):
    """A collector that can tell where its config leads: what a worker hands in over HTTPS of any other place is refused. Of one
    that cannot, a place is taken unless others watch it already."""

    def leads_to(self, location: LocationURI) -> bool | None:
        """Whether one of its looks can be at that place, by the config itself. None: what it does not know here (a list
        elsewhere) decides that. Cheap, without I/O, from any thread."""
        ...


class Divisible(Collector, Protocol):
    """A collector whose looks several processes can share."""

    def parts(self, size: int) -> int:
        """Into how many parts of about `size` looks its world can be divided; at least 1. Cheap, without I/O."""
        ...


class Follower(Collector, Protocol):
    """A collector whose source tells of changes: they are in the inventory at once, and not only with the next scan."""

    def follow(self) -> AsyncIterator[Observation | Gone]:
        """What has changed since `collect` last saw it, as it happens; for as long as there is anything to follow.

        Begins after a `collect` has ended, goes on beside later ones (what it says meanwhile counts after them), and
        is closed before the program ends: everything is released within a second. What cannot be followed for a
        while is tried again by itself; until it can be, `collect` says `Incomplete`. Raises, or ends: it is called
        again a little later.
        """
        ...
