"""What a CA has decided since its database was last read, as a metric (M1, M8)."""

from certwatch.telemetry.metrics import CA_DATABASE_REQUESTS

#: Profiles and issuers of one process that have a series of their own; of all further ones there is one.
MOST = 1000
OTHER = "other"
LONGEST_LABEL = 100

#: Threads may race for the last places: a few more do no harm.
_known: set[tuple[str, str, str]] = set()


def count(collector: str, issuer: str, profile: str, outcome: str) -> None:
    """`outcome`: "issued", "failed" or "denied". Empty names: not known."""
    key = collector, issuer[:LONGEST_LABEL], profile[:LONGEST_LABEL]
    if key not in _known:
        if len(_known) >= MOST:
            key = collector, OTHER, OTHER
        else:
            _known.add(key)
    CA_DATABASE_REQUESTS.labels(*key, outcome).inc()
