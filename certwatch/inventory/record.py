"""The write path: looks become rows. An unchanged look writes one narrow row, and nothing of it is parsed."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from certwatch.inventory import certificates, clock_faults, totals
from certwatch.inventory.change import Change, take
from certwatch.inventory.looks import Look
from certwatch.inventory.session import Session
from certwatch.inventory.store import InventoryError, Recorded
from certwatch.inventory.text import storable
from certwatch.model.observation import ScanID


@dataclass(slots=True)
class _Counts:
    unchanged: int = 0
    changed: int = 0
    new_certificates: int = 0
    nothing_there: Counter[str | None] = field(default_factory=Counter)


def record(connection: Session, scan: ScanID, looks: Sequence[Look]) -> Recorded:
    """See `store.Writer.record`; within the caller's transaction."""
    row = connection.execute("SELECT collector, status FROM scans WHERE id = ?", (scan,)).fetchone()
    if row is None or row[1] != "running":
        state = "unknown" if row is None else f"{row[1]} already"
        raise InventoryError(
            "other", f"scan {scan} is {state}: nothing can be recorded for it. Begin another one"
        )
    return _record(connection, scan, row[0], looks)


def record_since(connection: Session, collector: str, looks: Sequence[Look]) -> Recorded:
    """Looks after the collector's last scan; see `store.Writer.record_changes`. Within the caller's transaction."""
    row = connection.execute(
        "SELECT max(s.id), c.id FROM scans s JOIN collectors c ON c.id = s.collector WHERE c.name = ? GROUP BY c.id",
        (storable(collector),),
    ).fetchone()
    if row is None:
        raise InventoryError("other", f"{collector} never scanned: there is nothing that could have changed")
    return _record(connection, row[0], row[1], looks)


def _record(connection: Session, scan: ScanID, collector: int, looks: Sequence[Look]) -> Recorded:
    counts = _Counts()
    if looks:
        clock_faults.looked(connection, looks)
    for chunk in _chunks(looks, connection.chunk):
        _record_chunk(connection, scan, collector, chunk, counts)
    return Recorded(
        unchanged=counts.unchanged,
        changed=counts.changed,
        new_certificates=counts.new_certificates,
        nothing_there=counts.nothing_there,
    )


def _chunks(looks: Iterable[Look], size: int) -> Iterator[dict[str, Look]]:
    """No location twice in one chunk, so that the second look at it meets what the first one did."""
    chunk: dict[str, Look] = {}
    for look in looks:
        if look.uri in chunk or len(chunk) == size:
            yield chunk
            chunk = {}
        chunk[look.uri] = look
    if chunk:
        yield chunk


def _record_chunk(
    connection: Session, scan: ScanID, collector: int, chunk: dict[str, Look], counts: _Counts
) -> None:
    new = dict(chunk)
    changed: list[tuple[int, Look]] = []
    touched: list[tuple[int, bool, int, int | None, int, int]] = []
    for row in connection.execute(_known(len(chunk)), (collector, collector, collector, *chunk)):
        look = new.pop(row[0])
        if look.only_known and (row[_SEEN] is None or row[_STOPPED] is not None):
            # Not watched, or not any more: nothing there does not bring it back to life.
            counts.nothing_there[look.error_kind] += 1
            counts.unchanged += 1
        elif _is_unchanged(look, scan, row):
            served = look.at if look.saw else row[_SERVED]
            seen_by = row[_LAST_SCAN] if look.absent else scan
            touched.append((seen_by, look.error_kind is not None, look.at, served, row[1], collector))
        else:
            changed.append((row[1], look))
    for uri in [uri for uri, look in new.items() if look.only_known]:
        counts.nothing_there[new.pop(uri).error_kind] += 1
        counts.unchanged += 1
    connection.update("looks", ("scan", "failed", "seen", "served"), ("location", "collector"), touched)
    counts.unchanged += len(touched)
    ids, added = certificates.keep(connection, [*new.values(), *(look for _, look in changed)])
    counts.new_certificates += added
    altered = take(
        connection,
        scan,
        collector,
        [Change(location, look, [ids[each] for each in look.fingerprints]) for location, look in changed],
    )
    counts.changed += altered
    counts.unchanged += len(changed) - altered
    if new:
        _add_locations(connection, scan, collector, list(new.values()), ids)
        counts.changed += len(new)


@cache
def _known(count: int) -> str:
    """What is known of `count` locations, by URI. Once a size: a full chunk's is prepared once."""
    return f"""
        SELECT l.uri, l.id, l.shown, l.error_kind, l.error_message, l.retired_at,
               w.scope, w.labels, w.stopped_at, k.scan, k.seen, k.served,
               (SELECT max(o.seen) FROM looks o WHERE o.location = l.id AND o.collector <> ?)
        FROM locations l
        LEFT JOIN looks k ON k.location = l.id AND k.collector = ?
        LEFT JOIN watches w ON w.location = l.id AND w.collector = ?
        WHERE l.uri IN ({",".join("?" * count)})
        """


_STOPPED, _LAST_SCAN, _SEEN, _SERVED = 8, 9, 10, 11


def _is_unchanged(look: Look, scan: int, row: tuple[Any, ...]) -> bool:
    """The newest look at this location so far, by a collector that watches it, and it shows what is known."""
    (
        _,
        _,
        shown,
        error_kind,
        error_message,
        retired,
        scope,
        labels,
        stopped,
        last_scan,
        seen,
        served,
        others,
    ) = row
    return (
        seen is not None
        and (look.at > seen or (look.at == seen and scan >= last_scan))
        and (others is None or look.at > others)
        # Without a chain the last one is kept, so that there is nothing to compare but the error.
        and (look.shown == shown or (served is not None and not look.saw))
        and look.error_kind == error_kind
        and look.error_message == error_message
        and look.labels == labels
        and look.scope == scope
        and stopped is None
        and retired is None
    )


def _add_locations(
    connection: Session, scan: ScanID, collector: int, looks: Sequence[Look], ids: dict[bytes, int]
) -> None:
    numbered = list(zip(connection.next_ids("locations", len(looks)), looks, strict=True))
    connection.insert(
        "locations",
        [
            (
                id,
                look.uri,
                "[" + ",".join([str(ids[each]) for each in look.fingerprints]) + "]",
                look.facts,
                look.shown,
                look.error_kind,
                look.error_message,
                None if look.saw else look.at,
                look.at,
                None,
            )
            for id, look in numbered
        ],
    )
    connection.insert("watches", [(id, collector, look.scope, look.labels, None) for id, look in numbered])
    connection.insert(
        "looks",
        [
            (id, collector, scan, int(look.error_kind is not None), look.at, look.at if look.saw else None)
            for id, look in numbered
        ],
    )
    connection.insert(
        "sightings",
        [
            (id, position, look.at, ids[each], None, None)
            for id, look in numbered
            for position, each in enumerate(look.fingerprints)
        ],
    )
    connection.insert("judgements", [(id, 1, 0, look.at, "") for id, look in numbered])
    totals.grow(connection, "locations", len(numbered))
