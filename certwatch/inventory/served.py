"""What is known of locations now, from their rows."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from certwatch.inventory.instants import from_micros
from certwatch.inventory.scans import look_error
from certwatch.inventory.session import Session
from certwatch.model.certificate import Certificate
from certwatch.model.location import Location, LocationURI
from certwatch.model.sighting import Served


@cache
def _decoder() -> Callable[[str], Any]:
    # Imported when something is shown: `list` that finds nothing does without.
    import msgspec

    return msgspec.json.Decoder().decode


class CertificateCache:
    """Parsed certificates by id, the last used ones: intermediates are parsed once. Owned by one reader; an id
    stands for the same certificate for ever."""

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._parsed: OrderedDict[int, Certificate] = OrderedDict()

    def get(self, connection: Session, ids: Iterable[int]) -> dict[int, Certificate]:
        """Those of `ids` that exist."""
        found: dict[int, Certificate] = {}
        missing = []
        for id in set(ids):
            if id in self._parsed:
                self._parsed.move_to_end(id)
                found[id] = self._parsed[id]
            else:
                missing.append(id)
        if missing:
            # Imported when a certificate is shown: `list` that finds nothing does without.
            from certwatch.x509.der import read

            for id, der in in_chunks(
                connection, "SELECT certificate, der FROM ders WHERE certificate IN ({})", missing
            ):
                found[id] = self._parsed[id] = read(der)
            while len(self._parsed) > self._size:
                self._parsed.popitem(last=False)
        return found


def in_chunks(
    connection: Session, sql: str, ids: Sequence[int] | Sequence[str] | Sequence[bytes]
) -> list[tuple[Any, ...]]:
    """Rows of a SELECT with `{}` in place of a list of ids."""
    rows: list[tuple[Any, ...]] = []
    for start in range(0, len(ids), 500):
        chunk = ids[start : start + 500]
        rows += connection.execute(sql.format(",".join("?" * len(chunk))), chunk).fetchall()
    return rows


_LOCATIONS = """
SELECT l.id, l.uri, l.chain, l.facts, l.error_kind, l.error_message, l.failing_since, l.first_seen, l.retired_at,
       (SELECT max(k.seen) FROM looks k WHERE k.location = l.id),
       (SELECT max(k.served) FROM looks k WHERE k.location = l.id),
       (SELECT j.owner FROM judgements j WHERE j.location = l.id)
FROM locations l WHERE l.id IN ({})
"""


def load_served(connection: Session, cache: CertificateCache, ids: Sequence[int]) -> list[Served]:
    """Locations by id, in that order; those that exist. The caller holds a snapshot."""
    decode = _decoder()
    rows = {row[0]: row for row in in_chunks(connection, _LOCATIONS, ids)}
    chains: dict[int, list[int]] = {id: decode(row[2]) for id, row in rows.items()}
    certificates = cache.get(connection, {each for chain in chains.values() for each in chain})
    watched = load_watchers(connection, ids)
    result = []
    for id in ids:
        if id not in rows:
            continue
        (
            _, uri, _, facts, kind, message, failing_since, first_seen, retired_at, last_seen, last_served, owner,
        ) = rows[id]  # fmt: skip
        collectors, labels = watched[id]
        result.append(
            Served(
                id=id,
                location=Location(uri=LocationURI(uri), labels=labels),
                collectors=collectors,
                chain=tuple([certificates[each] for each in chains[id]]),
                facts=decode(facts),
                error=look_error(kind, message),
                failing_since=from_micros(failing_since),
                first_seen=from_micros(first_seen),
                last_seen=from_micros(last_seen),
                last_served=from_micros(last_served),
                retired_at=from_micros(retired_at),
                owner=owner,
            )
        )
    return result


_WATCHES = """
SELECT w.location, c.name, w.labels, w.stopped_at IS NULL
FROM watches w JOIN collectors c ON c.id = w.collector WHERE w.location IN ({})
"""


def load_watchers(
    connection: Session, ids: Sequence[int]
) -> dict[int, tuple[tuple[str, ...], dict[str, str]]]:
    """Of each location the collectors that watch it, sorted, and the labels they give it.

    Of two that give the same label, the first by name wins. Nobody watches it: the labels of those who did.
    """
    watches: dict[int, list[tuple[str, str, int]]] = {id: [] for id in ids}
    for location, name, labels, watching in in_chunks(connection, _WATCHES, ids):
        watches[location].append((name, labels, watching))
    result = {}
    decode = _decoder()
    for id, each in watches.items():
        each.sort(reverse=True)
        present = [watch for watch in each if watch[2]]
        merged: dict[str, str] = {}
        for _, labels, _ in present or each:
            merged |= decode(labels)
        result[id] = tuple([name for name, _, _ in reversed(present)]), merged
    return result
