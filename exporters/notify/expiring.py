"""Certificates in service that end soon, by route. One pass over the inventory for all receivers of a digest."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from certwatch.model.clock import Clock
from certwatch.plugins.view import InventoryView
from exporters.notify.message import MAX_TEXT, Expiring, clean, unicode

#: Receivers of one digest are served from one pass.
KEPT = timedelta(minutes=5)


class Horizon:
    """Owned by the event loop."""

    def __init__(
        self, view: InventoryView, clock: Clock, within: timedelta, route_of: Callable[[str], str | None]
    ) -> None:
        """`route_of(owner)`: whose route takes it; None: nobody's."""
        self._view = view
        self._clock = clock
        self._within = within
        self._route_of = route_of
        self._lock = asyncio.Lock()
        self._seen_at: datetime | None = None
        self._found: dict[str, tuple[Expiring, ...]] = {}

    async def of(self, route: str) -> tuple[Expiring, ...]:
        """Soonest first."""
        async with self._lock:
            now = self._clock()
            if self._seen_at is None or not self._seen_at <= now < self._seen_at + KEPT:
                self._found = await asyncio.to_thread(self._look, now)
                self._seen_at = now
            return self._found.get(route, ())

    def _look(self, now: datetime) -> dict[str, tuple[Expiring, ...]]:
        """Blocking. A certificate at many places is one, for each route that has some of them."""
        found: dict[str, dict[bytes, Expiring]] = {}
        for served in self._view.live():
            leaf, route = served.leaf, self._route_of(served.owner)
            if leaf is None or route is None or leaf.not_after is None:
                continue
            if not now <= leaf.not_after < now + self._within:
                continue
            of_route = found.setdefault(route, {})
            before = of_route.get(leaf.fingerprint_sha256)
            of_route[leaf.fingerprint_sha256] = Expiring(
                name=clean(leaf.shown, MAX_TEXT),
                issuer=clean(leaf.issuer, MAX_TEXT),
                not_after=leaf.not_after,
                fingerprint_sha256=leaf.fingerprint_sha256.hex(),
                owner=before.owner if before is not None else unicode(served.owner),
                location=before.location if before is not None else clean(served.location.uri, MAX_TEXT),
                locations=before.locations + 1 if before is not None else 1,
            )
        return {
            route: tuple(sorted(each.values(), key=lambda it: (it.not_after, it.name)))
            for route, each in found.items()
        }
