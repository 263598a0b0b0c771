"""What collectors that follow the inventory take from it: leaves in use, each certificate once."""

from collections.abc import Iterator
from dataclasses import dataclass

from certwatch.model.certificate import Certificate
from certwatch.model.observation import Fact
from certwatch.model.sighting import Served
from certwatch.plugins.collector import CollectError, CollectorContext
from certwatch.plugins.view import InventoryView


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    certificate: Certificate
    #: Where it was met first.
    at: Served

    def about(self) -> dict[str, Fact]:
        """How a statement names what it is about."""
        return {
            "certificate": self.certificate.fingerprint_sha256.hex(),
            "certificate_name": self.certificate.shown,
            "certificate_location": self.at.location.uri,
        }


def followed(context: CollectorContext, kind: str) -> InventoryView:
    """For a collector of this kind. Raises CollectError: there is no inventory."""
    if context.view is None:
        raise CollectError(
            "other", f"{kind} follows the inventory, and there is none here: use collect or run"
        )
    return context.view


def leaves(view: InventoryView) -> Iterator[Leaf]:
    """Of endpoints and stores; of bundles and books nothing. Blocking, streams."""
    seen: set[bytes] = set()
    for served in view.live():
        leaf = served.leaf
        if leaf is None or leaf.is_ca or served.location.standing == "recorded":
            continue
        if served.facts.get("arrangement") == "bundle":
            continue
        # Eight bytes tell them apart well enough, and a million of them are little.
        short = leaf.fingerprint_sha256[:8]
        if short not in seen:
            seen.add(short)
            yield Leaf(certificate=leaf, at=served)
