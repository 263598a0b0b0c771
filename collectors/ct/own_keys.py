"""Keys of certificates in use: a certificate for one of them that we do not know is somebody's who has the key."""

from certwatch.model.location import RECORD_KINDS
from certwatch.plugins.view import InventoryView

#: Beyond, the rest is not watched.
MOST = 200_000


def own_keys(view: InventoryView) -> frozenset[bytes]:
    """Blocking."""
    found: set[bytes] = set()
    for served in view.live():
        leaf = served.leaf
        if (
            leaf is not None
            and leaf.spki_sha256 is not None
            and not leaf.is_ca
            and served.location.kind not in RECORD_KINDS
        ):
            found.add(leaf.spki_sha256)
            if len(found) >= MOST:
                break
    return frozenset(found)
