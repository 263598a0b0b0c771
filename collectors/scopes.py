"""Scopes that the inventory has of a collector: where a listing fails as a whole, nobody else knows what it would have shown."""

from collections.abc import Callable

from certwatch.plugins.view import InventoryView


def known_scopes(
    view: InventoryView | None, collector: str, scope_of: Callable[[str], str], beginning: str
) -> list[str]:
    """Those that begin so, of live locations. Reads the whole inventory, so only when something went wrong. Blocking."""
    if view is None:
        return []
    found = set()
    for served in view.live():
        if collector in served.collectors:
            scope = scope_of(served.location.uri)
            if scope.startswith(beginning):
                found.add(scope)
    return sorted(found)
