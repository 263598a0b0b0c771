"""What exporters and the page read: the inventory, from any thread."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

from certwatch.inventory.store import Reader, Store
from certwatch.model.finding import Finding
from certwatch.model.location import LocationURI
from certwatch.model.observation import Scan
from certwatch.model.sighting import Served

#: Readers that are kept open while nobody reads.
IDLE_READERS = 4


class StoreView:
    """Keeps the promise of `plugins.exporter.InventoryView`. Each call has a reader to itself while it lasts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # Guards the list, and that nothing is put back after close.
        self._lock = Lock()
        self._idle: list[Reader] = []
        self._closed = False

    @contextmanager
    def reading(self, seconds: float | None = None) -> Iterator[Reader]:
        """A reader for the calling thread, for so long at most. Raises InventoryError."""
        with self._lock:
            reader = self._idle.pop() if self._idle else None
        if reader is None:
            reader = self._store.reader()
        try:
            reader.limit_time(seconds)
            yield reader
        finally:
            reader.limit_time(None)
            with self._lock:
                keep = not self._closed and len(self._idle) < IDLE_READERS
                if keep:
                    self._idle.append(reader)
            if not keep:
                reader.close()

    def live(self) -> Iterator[Served]:
        with self.reading() as reader:
            yield from reader.live()

    def open_findings(self) -> Iterator[Finding]:
        with self.reading() as reader:
            yield from reader.open_findings()

    def served(self, uri: LocationURI) -> Served | None:
        with self.reading() as reader:
            return reader.served(uri)

    def last_scans(self) -> Sequence[Scan]:
        with self.reading() as reader:
            return reader.last_scans()

    def close(self) -> None:
        """Who still reads goes on to the end of that call."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for reader in idle:
            reader.close()
