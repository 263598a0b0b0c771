"""What a plug-in may read of the inventory."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from certwatch.model.finding import Finding
from certwatch.model.location import LocationURI
from certwatch.model.observation import Scan
from certwatch.model.sighting import Served


class InventoryView(Protocol):
    """A consistent snapshot, never waiting for the writer. Blocking: call it in a
    thread (`asyncio.to_thread`), or in `__init__`-time code never."""

    def live(self) -> Iterable[Served]:
        """Every location that is not retired, in order of id. Streams: holds a page at a time."""
        ...

    def open_findings(self) -> Iterable[Finding]: ...

    def served(self, uri: LocationURI) -> Served | None:
        """What is known of one location. None: never seen."""
        ...

    def last_scans(self) -> Sequence[Scan]:
        """The last finished scan of each collector."""
        ...
