"""What an exporter promises: it tells, it never decides."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from certwatch.model.clock import Clock
from certwatch.model.finding import Finding
from certwatch.model.ledger_entry import LedgerEntry
from certwatch.model.observation import Scan
from certwatch.model.sighting import Served
from certwatch.model.sli import Sample
from certwatch.plugins.view import InventoryView

__all__ = ["Exporter", "ExporterConfig", "ExporterContext", "InventoryView", "News"]


class ExporterConfig(BaseModel):
    """Base of every exporter's `Config`: its own keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What one round changed. Told in order; a restart, or news that was lost, begins with `start` instead."""

    #: Locations that are new, or whose chain, facts, error, labels or owner changed.
    changed: tuple[Served, ...] = ()
    retired: tuple[Served, ...] = ()
    opened: tuple[Finding, ...] = ()
    #: Open findings whose severity, summary or owner changed.
    altered: tuple[Finding, ...] = ()
    resolved: tuple[Finding, ...] = ()
    #: Scans that ended.
    scans: tuple[Scan, ...] = ()
    samples: tuple[Sample, ...] = ()
    #: Names of collectors that are configured no more; what they alone had seen is told as retired.
    forgotten: tuple[str, ...] = ()
    #: Of the embedded CA's ledger: each at least once, whatever is lost to other exporters.
    entries: tuple[LedgerEntry, ...] = ()

    def __bool__(self) -> bool:
        return any(
            (
                self.changed,
                self.retired,
                self.opened,
                self.altered,
                self.resolved,
                self.scans,
                self.samples,
                self.forgotten,
                self.entries,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterContext:
    clock: Clock
    view: InventoryView
    #: Where people reach this certwatch, without slash at the end; links are made from it.
    external_url: str = ""
    #: A folder of this exporter's own for what must outlive the process; it may not exist yet. None: there is none.
    state_folder: Path | None = None
    #: By team, who is paged for it, where that is not the team itself.
    pages: Mapping[str, str] = field(default_factory=dict)
    #: Who is told of a finding at a place (None: not known) instead of its owner; empty: nobody else. It may change with the
    #: finding and with the place. None: there are no routes, so that nobody need look for the place.
    route_of: Callable[[Finding, Served | None], str] | None = None


class Exporter(Protocol):
    Config: ClassVar[type[ExporterConfig]]

    def __init__(self, name: str, config: ExporterConfig, context: ExporterContext) -> None:
        """Cheap, without I/O."""

    async def start(self) -> None:
        """Take the present state from the view, in place of whatever was told before. Called before the first
        `publish`; and again, never during one, when news was lost to this exporter (it failed, or was too slow)."""

    async def publish(self, news: News) -> None:
        """Take what changed. Returns soon: what must be sent goes to a bounded queue or a kept state of its
        own. Called in order, never twice at once."""

    async def run(self) -> None:
        """Its life: sends, re-sends, serves until cancelled; on cancellation makes one last bounded attempt
        (5 s) to deliver what is pending. Returns at once if it has nothing to do by itself."""

    def routes(self) -> Sequence[Any]:
        """HTTP routes (`starlette.routing.BaseRoute`) that it answers on certwatch's port. May be empty."""
        ...


class Repeating(Exporter, Protocol):
    """An exporter that says again and again what is so. `start` is called once more before its last attempt when another process
    took over: what that one ended must not be said as if it went on."""

    #: True.
    repeats: ClassVar[bool]
