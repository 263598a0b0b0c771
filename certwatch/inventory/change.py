"""A look at a known location that brings something new, or comes late.

Two things are kept of a location, each by its own latest look: what it showed (chain and facts, by the latest look
that saw a chain) and how the last look went (error). So looks may be recorded in any order and end in the same.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from certwatch.inventory.looks import Look
from certwatch.inventory.served import in_chunks
from certwatch.inventory.session import Session
from certwatch.inventory.sightings import Switch, insert_late, never_gone, switch
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


class Change(NamedTuple):
    location: int
    look: Look
    #: The certificates' ids.
    chain: list[int]


class _Looked(NamedTuple):
    """What all collectors have seen of a location by their last looks."""

    seen: int
    scan: int
    served: int | None


def take(connection: Session, scan: ScanID, collector: int, changes: Sequence[Change]) -> int:
    """Record them, no location twice: how many locations changed by it, which also makes them due.

    But for what comes late, all is read before anything is written, by a statement for each table: a database that is far
    away answers slowly.
    """
    if not changes:
        return 0
    ids = [each.location for each in changes]
    before = _known(connection, ids)
    looked = _looked(connection, ids)
    watched = _watched(connection, collector, ids)
    switches: list[Switch] = []
    altered: list[tuple[Any, ...]] = []
    due: list[tuple[int, int, int]] = []
    judgements = {
        location: (revision, due_at)
        for location, revision, due_at in in_chunks(
            connection, "SELECT location, revision, due_at FROM judgements WHERE location IN ({})", ids
        )
    }
    for location, look, chain in changes:
        known, (last_seen, last_scan, last_served) = before[location], looked[location]
        is_last = (look.at, scan) >= (last_seen, last_scan)
        now = known._replace(first_seen=min(known.first_seen, look.at), retired_at=None)
        if known.retired_at is not None and not is_last and last_served is not None:
            never_gone(connection, location, known.retired_at, last_served)
        if look.saw:
            if last_served is None or look.at > last_served or (is_last and look.at == last_served):
                now = now._replace(chain=json.dumps(chain), facts=look.facts, shown=look.shown)
                switches.append(Switch(location, chain, look.at, last_served))
            else:
                insert_late(connection, location, chain, at=look.at, last_served=last_served)
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
            altered.append((*now, location))
        row = watched.get(location)
        watch_changed = row is None or row[1:] != (look.labels, None)
        if watch_changed or now._replace(first_seen=known.first_seen) != known:
            revision, due_at = judgements[location]
            due.append((revision + 1, look.at if due_at is None else min(due_at, look.at), location))
    switch(connection, switches)
    connection.update("locations", _Known._fields, ("id",), altered)
    _look(connection, scan, collector, changes)
    _watch(
        connection, collector, [each for each in changes if watched.get(each.location) != _wanted(each.look)]
    )
    connection.update("judgements", ("revision", "due_at"), ("location",), due)
    return len(due)


def _known(connection: Session, ids: Sequence[int]) -> dict[int, _Known]:
    return {
        row[0]: _Known._make(row[1:])
        for row in in_chunks(
            connection,
            f"SELECT id, {', '.join(_Known._fields)} FROM locations WHERE id IN ({{}})",
            ids,
        )
    }


def _looked(connection: Session, ids: Sequence[int]) -> dict[int, _Looked]:
    found: dict[int, _Looked] = {}
    for location, seen, scan, served in in_chunks(
        connection, "SELECT location, seen, scan, served FROM looks WHERE location IN ({})", ids
    ):
        other = found.get(location)
        if other is None:
            found[location] = _Looked(seen, scan, served)
            continue
        last_seen, last_scan = max((seen, scan), other[:2])
        served_by_any = [each for each in (served, other.served) if each is not None]
        found[location] = _Looked(last_seen, last_scan, max(served_by_any, default=None))
    return found


def _watched(
    connection: Session, collector: int, ids: Sequence[int]
) -> dict[int, tuple[str, str, int | None]]:
    """Scope, labels and when it stopped."""
    return {
        location: (scope, labels, stopped_at)
        for location, watcher, scope, labels, stopped_at in in_chunks(
            connection,
            "SELECT location, collector, scope, labels, stopped_at FROM watches WHERE location IN ({})",
            ids,
        )
        if watcher == collector
    }


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


def _look(connection: Session, scan: ScanID, collector: int, changes: Sequence[Change]) -> None:
    connection.insert(
        "looks",
        [
            (
                location,
                collector,
                # Scan 0: the last one that saw it stays.
                0 if look.absent else scan,
                int(look.error_kind is not None),
                look.at,
                look.at if look.saw else None,
            )
            for location, look, _ in changes
        ],
        """
        ON CONFLICT (location, collector) DO UPDATE SET
            failed = CASE WHEN excluded.seen >= looks.seen OR excluded.scan > looks.scan
                THEN excluded.failed ELSE looks.failed END,
            scan = max(looks.scan, excluded.scan),
            seen = max(looks.seen, excluded.seen),
            served = max(coalesce(looks.served, excluded.served), coalesce(excluded.served, looks.served))
        """,
    )


def _wanted(look: Look) -> tuple[str, str, int | None]:
    return look.scope, look.labels, None


def _watch(connection: Session, collector: int, changes: Sequence[Change]) -> None:
    connection.insert(
        "watches",
        [(location, collector, *_wanted(look)) for location, look, _ in changes],
        "ON CONFLICT (location, collector) DO UPDATE SET"
        " scope = excluded.scope, labels = excluded.labels, stopped_at = NULL",
    )
