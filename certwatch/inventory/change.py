"""A look at a known location that brings something new, or comes late.

Two things are kept of a location, each by its own latest look: what it showed (chain and facts, by the latest look
that saw a chain) and how the last look went (error). So looks may be recorded in any order and end in the same.
"""

import json
from typing import NamedTuple

from certwatch.inventory import sightings
from certwatch.inventory.looks import Look
from certwatch.inventory.session import Session
from certwatch.model.observation import ScanID


class _Known(NamedTuple):
    chain: str
    facts: str
    shown: bytes
    error_kind: str | None
    error_message: str | None
    failing_since: int | None
    first_seen: int
    retired_at: int | None


def take(
    connection: Session, scan: ScanID, collector: int, location: int, look: Look, chain: list[int]
) -> bool:
    """Record it: True if the location changed by it, which also makes it due. `chain`: the certificates' ids."""
    known = _Known._make(
        connection.execute(
            "SELECT chain, facts, shown, error_kind, error_message, failing_since, first_seen, retired_at"
            " FROM locations WHERE id = ?",
            (location,),
        ).fetchone()
    )
    last_seen, last_scan = connection.execute(
        "SELECT seen, scan FROM looks WHERE location = ? ORDER BY seen DESC, scan DESC LIMIT 1", (location,)
    ).fetchone()
    (last_served,) = connection.execute(
        "SELECT max(served) FROM looks WHERE location = ?", (location,)
    ).fetchone()
    is_last = (look.at, scan) >= (last_seen, last_scan)
    now = known._replace(first_seen=min(known.first_seen, look.at), retired_at=None)
    if look.saw:
        if last_served is None or look.at > last_served or (is_last and look.at == last_served):
            now = now._replace(chain=json.dumps(chain), facts=look.facts, shown=look.shown)
            sightings.switch(connection, location, chain, at=look.at, last_served=last_served)
        else:
            sightings.insert_late(connection, location, chain, at=look.at, last_served=last_served)
    elif last_served is None and is_last:
        now = now._replace(facts=look.facts, shown=look.shown)
    if is_last:
        now = now._replace(error_kind=look.error_kind, error_message=look.error_message)
    now = now._replace(
        failing_since=_failing_since(
            known, look, is_last=is_last, last_seen=last_seen, last_served=last_served
        )
    )
    if now != known:
        connection.execute(
            "UPDATE locations SET chain = ?, facts = ?, shown = ?, error_kind = ?, error_message = ?,"
            " failing_since = ?, first_seen = ?, retired_at = ? WHERE id = ?",
            (*now, location),
        )
    # Scan 0: the last one that saw it stays.
    watch_changed = _watch(connection, 0 if look.absent else scan, collector, location, look)
    if watch_changed or now._replace(first_seen=known.first_seen) != known:
        make_due(connection, location, look.at)
        return True
    return False


def _failing_since(
    known: _Known, look: Look, *, is_last: bool, last_seen: int, last_served: int | None
) -> int | None:
    """First look of the present run of looks that saw no chain."""
    since = known.failing_since
    if is_last:
        return None if look.saw else look.at if since is None else since
    if since is None:
        return None
    if look.saw:
        # Late, and within the run: it broke it. Of the looks after it, only the last is still known.
        return last_seen if look.at >= since else since
    return min(since, look.at) if last_served is None or look.at > last_served else since


def _watch(connection: Session, scan: int, collector: int, location: int, look: Look) -> bool:
    """The collector looked: it watches. True if that, or its labels, is new."""
    connection.execute(
        """
        INSERT INTO looks VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (location, collector) DO UPDATE SET
            failed = CASE WHEN excluded.seen >= looks.seen OR excluded.scan > looks.scan
                THEN excluded.failed ELSE looks.failed END,
            scan = max(looks.scan, excluded.scan),
            seen = max(looks.seen, excluded.seen),
            served = max(coalesce(looks.served, excluded.served), coalesce(excluded.served, looks.served))
        """,
        (
            location,
            collector,
            scan,
            int(look.error_kind is not None),
            look.at,
            look.at if look.saw else None,
        ),
    )
    row = connection.execute(
        "SELECT scope, labels, stopped_at FROM watches WHERE location = ? AND collector = ?",
        (location, collector),
    ).fetchone()
    if row == (look.scope, look.labels, None):
        return False
    connection.execute(
        "INSERT INTO watches VALUES (?, ?, ?, ?, NULL)"
        " ON CONFLICT (location, collector) DO UPDATE SET scope = excluded.scope, labels = excluded.labels, stopped_at = NULL",
        (location, collector, look.scope, look.labels),
    )
    return row is None or row[1:] != (look.labels, None)


def make_due(connection: Session, location: int, at: int) -> None:
    connection.execute(
        "UPDATE judgements SET revision = revision + 1, due_at = min(coalesce(due_at, ?), ?) WHERE location = ?",
        (at, at, location),
    )
