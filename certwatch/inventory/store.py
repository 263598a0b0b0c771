"""The promise of an inventory. Every store keeps it; one suite of tests holds them to it (tests/contracts).

Calls block and take aware UTC instants. Writers: one thread of one process calls `Writer`. Readers: any thread
calls `Reader`, sees a consistent snapshot, and never waits for the writer.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from certwatch.inventory.session import Session
from certwatch.model.books import Books
from certwatch.model.certificate import Certificate, Fingerprint
from certwatch.model.finding import Finding, FindingID, Problem, Severity
from certwatch.model.lifecycle import Presence, Validity
from certwatch.model.lint import Lint
from certwatch.model.location import LocationURI
from certwatch.model.mark import Mark, MarkID
from certwatch.model.neighbour import Endpoint, Neighbour, Sharer, Twin
from certwatch.model.observation import Gone, Incomplete, LookError, Observation, Scan, ScanID
from certwatch.model.renewal import Renewal
from certwatch.model.sighting import Served, Sighting
from certwatch.model.silence import Silence, SilenceID

InventoryErrorKind = Literal[
    "locked",
    "read-only",
    "full",
    "corrupt",
    "newer",
    "not-found",
    "not-inventory",
    "too-long",
    "gone",
    "unreachable",
    "other",
]


class InventoryError(Exception):
    """The inventory cannot be used. The message says which file or server, why, and what to do."""

    def __init__(self, kind: InventoryErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What one `record` did."""

    #: Observations that brought nothing new but the time.
    unchanged: int
    #: Locations that are new, or whose chain, stable facts, error or labels changed.
    changed: int
    new_certificates: int
    #: Of the unchanged: looks at places that were only guessed and where there is nothing, by kind of error.
    nothing_there: Mapping[str | None, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A location that must be judged, as it stood when it was read."""

    served: Served
    #: Grows with every change of the location.
    revision: int
    #: True: it has changed since it was last judged. False: time has passed, or the rules are others.
    changed: bool
    #: Other live places whose leaf shares a name with this one's.
    neighbours: tuple[Neighbour, ...] = ()
    #: What is published where the chain says that its issuers are, and the chain does not have: nearest first.
    issuers: tuple[Certificate, ...] = ()
    #: Other live places whose leaf has the same key.
    sharers: tuple[Sharer, ...] = ()
    #: Other places that have, or had, the same issuance.
    twins: tuple[Twin, ...] = ()
    #: When the last endpoint stopped to serve what lies here. None: one still does, or none ever did.
    withdrawn_at: datetime | None = None
    #: What the books of our CAs say of the leaf. None: no CA's database is read.
    books: Books | None = None
    #: What the linter found in certificates of the chain; those without are absent.
    lints: Mapping[Fingerprint, tuple[Lint, ...]] = field(default_factory=dict)
    #: Of a place that names a host which is expected: TLS endpoints that are looked at for it.
    endpoints: tuple[Endpoint, ...] = ()
    #: Leaves that were replaced here, the latest ones, oldest first.
    renewals: tuple[Renewal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlinted:
    """A certificate that the linter has not seen."""

    id: int
    der: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleProblem:
    rule: str
    runbook: str
    problem: Problem
    #: Whoever took note of it. None: nobody has.
    silence: Silence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the rules said of one location."""

    location_id: int
    #: The revision that was judged. If the location has changed since, it stays due.
    revision: int
    owner: str
    problems: tuple[RuleProblem, ...]
    #: Rules that could not say (they failed): their findings stay as they are.
    silent: frozenset[str] = frozenset()
    #: When the answer may change by time alone. None: never.
    due_at: datetime | None
    #: Locations whose judgement depends on this one, which has changed: they become due.
    wakes: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    opened: tuple[Finding, ...]
    #: Still open, with another severity, summary, text, owner or silence.
    altered: tuple[Finding, ...]
    resolved: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How much of each one `prune` forgot."""

    sightings: int
    findings: int
    scans: int
    locations: int
    certificates: int


class Writer(Protocol):
    def keep_turn(self) -> None:
        """This process is at work. In a store that is shared, who has said so once and says it no more for 20 s loses its turn.
        "locked": it has lost it."""
        ...

    def begin_scan(self, collector: str, now: datetime) -> ScanID:
        """Open a scan. Scans of this collector left running by a dead process become failed."""
        ...

    def record(
        self, scan: ScanID, observations: Sequence[Observation], labels: Mapping[str, str] = ...
    ) -> Recorded:
        """Record looks of one scan; `labels` are the collector's configured ones (an observation's own win).

        Atomic: all or none. Idempotent for the same scan and observation. A look with an error and no chain
        keeps the last chain and its age; one at a place that was only guessed, and is not known, leaves nothing. A changed location becomes due in the same transaction, so that a
        crash between recording and judging loses nothing. A changed chain ends the former sightings. Only new
        certificates are parsed. Older than what is known of the location (clock jumped, late worker): its chain
        is not taken over what is newer.
        """
        ...

    def record_changes(
        self,
        collector: str,
        observations: Sequence[Observation],
        labels: Mapping[str, str],
        gone: Sequence[Gone],
        now: datetime,
    ) -> Recorded:
        """What a collector saw since its last scan, which has ended: as `record`, of that scan. Places that are
        gone are not watched any more, as a complete scan would have it, unless they were seen later than that.
        A place is either seen or gone here, not both. Atomic, idempotent. "other": it never scanned."""
        ...

    def finish_scan(
        self,
        scan: ScanID,
        incomplete: Sequence[Incomplete],
        now: datetime,
        *,
        failed: LookError | None = None,
        unchanged: Collection[str] = (),
        continued: Mapping[str, datetime] | None = None,
    ) -> Scan:
        """Close a scan: complete, partial (some scope is incomplete) or failed.

        A location is retired when no collector watches it any more: this collector stops watching what this
        scan did not see, unless its scope, or the whole ("" scope), was incomplete. A failed scan retires nothing.
        Of the scopes in `unchanged` nothing is retired either, though the scan is complete: it told what is new. Of
        those in `continued` it retires what no scan saw from the one on that was running at that instant.
        Retired locations become due. Seen again, they come back to life with their history.
        """
        ...

    def abandon_collectors(self, keep: Iterable[str], now: datetime) -> int:
        """Collectors that the config names no more stop watching, and their scans are over: how many locations were
        retired."""
        ...

    def settle(self, judgements: Sequence[Judgement], now: datetime) -> Settled:
        """Take the rules' word: open what is new, alter what changed, resolve what is said no more. Atomic."""
        ...

    def require_judgement(self, digest: str) -> bool:
        """Everything becomes due if `digest` (of rules, their settings, owners, trust) is not the one of the last
        call: True if so."""
        ...

    def record_lints(self, found: Sequence[tuple[int, Sequence[Lint]]], *, through: int, linter: str) -> None:
        """What `linter` found, by certificate's id, in all up to the id `through`: places that serve one of them become
        due."""
        ...

    def prune(self, before: datetime, *, findings_before: datetime | None = None) -> Pruned:
        """Forget what ended before: silences that cover nothing any more, sightings, scans but the last of each collector,
        retired locations of which nothing is left, no finding either, certificates seen nowhere any more; and findings that
        were resolved before `findings_before` (None: none). What is live or open stays. Atomic."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What `list` asks. Every condition that is set must hold."""

    #: A name, "*.example.com" (that name and everything below), a part of a subject, a serial, a fingerprint or
    #: its beginning (≥ 8 hex digits), a location URI or its beginning.
    text: str | None = None
    expires_before: datetime | None = None
    #: Inclusive.
    expires_after: datetime | None = None
    expired_at: datetime | None = None
    owner: str | None = None
    collector: str | None = None
    #: A part of the issuer's name, case ignored.
    issuer: str | None = None
    #: What was served at that instant, instead of now.
    at: datetime | None = None
    sort: Literal["not_after", "not_before", "subject", "issuer", "first_seen", "locations"] = "not_after"
    descending: bool = False
    limit: int | None = None
    #: Only what comes after this certificate in the order asked for: how a page goes on. Forgotten since: "gone".
    after: Fingerprint | None = None
    #: A last filter over finished entries (a compiled expression).
    where: Callable[["Entry"], bool] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A location as it concerns one certificate."""

    location: LocationURI
    position: int
    first_seen: datetime
    last_seen: datetime
    ended_at: datetime | None
    owner: str
    collectors: tuple[str, ...]
    labels: Mapping[str, str]
    error: LookError | None


#: Places that one entry names.
MAX_PLACES = 1000
#: Sightings that are counted for one entry.
COUNTED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One certificate of the inventory with where it is."""

    certificate: Certificate
    validity: Validity
    presence: Presence
    #: Of the locations that were counted; the last of those that are named or have ended.
    first_seen: datetime
    last_seen: datetime
    #: How many locations have, or had, it; there may be more if `more`.
    locations: int
    #: True: so many have it that not all were counted.
    more: bool
    #: Live places first; at most `MAX_PLACES` (an intermediate may be at every location there is).
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingQuery:
    severity: Severity | None = None
    rule: str | None = None
    owner: str | None = None
    location: LocationURI | None = None
    fingerprint: Fingerprint | None = None
    #: Resolved ones too.
    all: bool = False
    limit: int | None = None
    #: Only what comes after this finding. Forgotten since: "gone".
    after: FindingID | None = None
    #: False: without those that a silence covers.
    silenced: bool = True
    #: A last filter (a compiled expression), given what is known of the place.
    where: Callable[[Finding, Served | None], bool] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    certificates: int
    locations: int
    open_findings: Mapping[Severity, int] = field(default_factory=dict)
    #: Live locations whose last looks saw nothing.
    failing: int = 0
    #: Open findings that a silence covers; not among `open_findings`.
    silenced: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerCount:
    #: Empty: nobody answers for them.
    owner: str
    open_findings: Mapping[Severity, int]


class Reader(Protocol):
    def due(self, now: datetime, limit: int) -> list[Due]:
        """Locations to judge, longest due first; retired ones too (they have `retired_at`)."""
        ...

    def next_due(self) -> datetime | None:
        """When the next one is due. None: nothing ever is."""
        ...

    def live(self) -> Iterator[Served]: ...

    def open_findings(self) -> Iterator[Finding]: ...

    def last_scans(self) -> Sequence[Scan]: ...

    def list(self, query: Query, now: datetime) -> Iterator[Entry]: ...

    def certificate(self, fingerprint_prefix: str, now: datetime) -> Sequence[Entry]:
        """Certificates whose SHA-256 begins so (hex), at most 20."""
        ...

    def served(self, uri: LocationURI) -> Served | None: ...

    def history(self, uri: LocationURI) -> Sequence[Sighting]:
        """Every sighting at a location, newest first."""
        ...

    def findings(self, query: FindingQuery) -> Iterator[Finding]:
        """Gravest first, then oldest."""
        ...

    def finding(self, id: FindingID) -> Finding | None: ...

    def unlinted(self, limit: int, *, linter: str) -> Sequence[Unlinted]:
        """Oldest first; all of them when the linter is another one."""
        ...

    def silences(self, holding_at: datetime | None = None) -> Sequence[Silence]:
        """Newest first. None: those that hold no more as well."""
        ...

    def silences_revision(self) -> int:
        """Grows with each change of silences: cheap to ask often."""
        ...

    def marks(self) -> Sequence[Mark]:
        """Newest first, those that were taken back too."""
        ...

    def marks_revision(self) -> int:
        """Grows with each change of marks."""
        ...

    def counts(self) -> Counts: ...

    def count_by_owner(self) -> Sequence[OwnerCount]:
        """Open findings by owner: who has the most of the gravest first."""
        ...

    def limit_time(self, seconds: float | None) -> None:
        """From now on all calls together may take so long: what takes longer raises InventoryError "too-long".
        None: no limit."""
        ...

    def check(self) -> Sequence[str]:
        """Verify everything that must hold between the tables; each violation one sentence. Empty: sound."""
        ...

    def close(self) -> None: ...


class Store(Protocol):
    """An open inventory."""

    @property
    def is_shared(self) -> bool:
        """Processes of several machines have it: whose writer is "locked" may wait until it is its turn."""
        ...

    def writer(self, *, keeps_turn: bool = False) -> Writer:
        """The one writer. `keeps_turn`: this process says so from now on, as by `Writer.keep_turn`. Raises InventoryError
        "locked" if another process has it."""
        ...

    def reader(self) -> Reader:
        """A reader of its own for the calling thread."""
        ...

    def snapshot(self) -> AbstractContextManager[Session]:
        """All tables as of one instant, to be copied."""
        ...

    def filling(self) -> AbstractContextManager[Session]:
        """One transaction of the writer, on disk when it is over. Raises InventoryError as `writer`."""
        ...

    def beside(self) -> AbstractContextManager[Session]:
        """One transaction beside the writer, also that of another process, and alone among all that write: for a moment. On disk
        when it is over. Raises InventoryError."""
        ...

    def silence(self, new: Silence) -> Silence:
        """Add one: with its number. What it may cover becomes due in the same transaction. Beside the writer, also that
        of another process; on disk when this returns. Raises InventoryError."""
        ...

    def end_silence(self, id: SilenceID, now: datetime) -> Silence | None:
        """As it stands now: one that held ends. None: there is none. As `silence` otherwise."""
        ...

    def mark(self, new: Mark) -> Mark:
        """Add one: with its number. The places that it may be about become due in the same transaction. As `silence`
        otherwise."""
        ...

    def end_mark(self, id: MarkID, now: datetime) -> Mark | None:
        """Take one back: as it stands now. None: there is none. As `mark` otherwise."""
        ...
