"""What the inventory holds already: it saves requests, and names what a failure leaves unseen."""

from datetime import datetime, timedelta
from hashlib import sha256

from certwatch.model.location import LocationURI
from certwatch.model.observation import Scan
from certwatch.model.sighting import Served
from certwatch.plugins.view import InventoryView
from collectors.aws.place import scope_of
from collectors.scopes import known_scopes


class Known:
    """Blocking; from any thread."""

    def __init__(
        self, collector: str, view: InventoryView | None, reconcile: timedelta, now: datetime
    ) -> None:
        self._collector = collector
        self._view = view
        self._reconcile = reconcile.total_seconds()
        self._now = now.timestamp()
        last = self._last_scan()
        #: Whatever a scan that failed was to look at anew, it may not have.
        self._before = (
            last.started_at.timestamp() if last is not None and last.status != "failed" else float("-inf")
        )

    def _last_scan(self) -> Scan | None:
        if self._view is None:
            return None
        return next((each for each in self._view.last_scans() if each.collector == self._collector), None)

    def served(self, uri: LocationURI) -> Served | None:
        """None: not known, or what is known is of no use (gone, or the last look failed)."""
        if self._view is None:
            return None
        found = self._view.served(uri)
        if found is None or found.retired_at is not None or found.error is not None:
            return None
        return found if self._collector in found.collectors else None

    def is_due(self, uri: LocationURI) -> bool:
        """Whether it is this one's turn to be read anew. Each has its own instant in every `reconcile`, so that the requests
        are spread and nothing has to be remembered."""
        if self._reconcile <= 0:
            return True
        offset = int.from_bytes(sha256(uri.encode()).digest()[:8]) / 2**64 * self._reconcile
        turn = (self._now - offset) // self._reconcile * self._reconcile + offset
        return turn > self._before

    def scopes(self, account: str) -> list[str]:
        """Of all locations of an account; empty: of all. Reads the whole inventory: only for what went wrong."""
        return known_scopes(self._view, self._collector, scope_of, account)
