"""Which TLS endpoints are looked at for a host that is expected."""

from collections.abc import Mapping, Sequence

from certwatch.inventory.ranges import between
from certwatch.inventory.session import Session
from certwatch.model.location import LocationURI
from certwatch.model.neighbour import Endpoint
from certwatch.model.sighting import Served

#: Of one host; which, among more, is not said.
MOST = 50
_FACTS = ("expected_host", "kubernetes_host")

#: By the name asked for; "&protocol=…" may follow it.
_BY_NAME = """
SELECT uri, chain <> '[]' FROM locations
WHERE uri BETWEEN 'tls:' AND 'tls;' AND instr(uri, '?sni=') > 0
    AND (substr(uri, instr(uri, '?sni=') + 5) = ?1
        OR substr(uri, instr(uri, '?sni=') + 5) BETWEEN ?1 || '&' AND ?1 || '''')
    AND length(uri) <= 600 AND retired_at IS NULL LIMIT ?2
"""
#: By address, or by a name that did not resolve; any port.
_BY_HOST = (
    "SELECT uri, chain <> '[]' FROM locations"
    " WHERE "
    + between("uri", "'tls://' || ?1 || ':'", "'tls://' || ?1 || ';'")
    + " AND retired_at IS NULL LIMIT ?2"
)


def load_endpoints(connection: Session, places: Sequence[Served]) -> Mapping[int, tuple[Endpoint, ...]]:
    """By location's id, of those whose facts name a host that is expected; the caller holds a snapshot."""
    found: dict[int, tuple[Endpoint, ...]] = {}
    for place in places:
        if place.chain:
            continue
        host = next((place.facts[each] for each in _FACTS if isinstance(place.facts.get(each), str)), None)
        if not isinstance(host, str):
            continue
        rows: dict[str, int] = {}
        for sql, asked in ((_BY_NAME, host), (_BY_HOST, f"[{host}]" if ":" in host else host)):
            rows |= dict(connection.execute(sql, (asked, MOST)).fetchall())
        if rows:
            found[place.id] = tuple(
                Endpoint(location=LocationURI(uri), answered=bool(answered)) for uri, answered in rows.items()
            )
    return found
