"""How long it took until clients could hear of a revocation that a CA has in its books (M5)."""

from datetime import datetime

from certwatch.model.observation import Observation
from certwatch.plugins.view import InventoryView
from certwatch.telemetry.metrics import REVOCATION_PROPAGATION


def measure(source: str, said: Observation, view: InventoryView) -> None:
    """Counted once, by the look that is the first to say it. `source`: "ocsp" or "crl". Blocking."""
    if said.error is not None or said.facts.get("revocation_status") != "revoked":
        return
    before = view.served(said.location)
    if before is None or before.facts.get("revocation_status") in (None, "revoked"):
        # Nobody had looked before it was there: how long it took is not known.
        return
    try:
        revoked_at = datetime.fromisoformat(str(said.facts.get("certificate_ca_revoked_at")))
        seconds = (said.observed_at - revoked_at).total_seconds()
    except (ValueError, TypeError):
        return
    REVOCATION_PROPAGATION.labels(source).observe(max(0.0, seconds))
