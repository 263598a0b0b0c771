"""Names that a store says it serves, as targets of the tls collector."""

from collections.abc import Iterable

_MOST = 20


def served_at(hosts: Iterable[str]) -> str | None:
    """Of names, or names with ports: the fact `tls_targets`. None: there is none that could be asked for (wildcards)."""
    found = sorted({each if ":" in each else f"{each}:443" for each in hosts if each and "*" not in each})
    return " ".join(found[:_MOST]) or None
