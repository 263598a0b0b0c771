"""Scans begin and end; what no collector watches any more is retired."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import get_args

from certwatch.inventory.instants import from_micros
from certwatch.inventory.session import Session
from certwatch.inventory.store import InventoryError
from certwatch.inventory.text import storable
from certwatch.model.observation import ErrorKind, Incomplete, LookError, Scan, ScanID, ScanStatus

_INTERRUPTED = LookError(
    kind="other", message="the process that ran it ended before the scan did. What it saw is kept"
)

_ABANDONED = LookError(kind="other", message="its collector is configured no more. What it saw is kept")

#: How many incomplete scopes a scan's error names.
_NAMED = 3


def begin(connection: Session, collector: str, now: int) -> ScanID:
    (id,) = connection.execute(
        "INSERT INTO collectors (name) VALUES (?) ON CONFLICT (name) DO UPDATE SET abandoned = 0 RETURNING id",
        (storable(collector),),
    ).fetchone()
    for (left,) in connection.execute(
        "SELECT id FROM scans WHERE collector = ? AND status = 'running'", (id,)
    ).fetchall():
        _close(connection, left, id, "failed", _INTERRUPTED, now)
    (scan,) = connection.execute(
        "INSERT INTO scans (collector, started_at, status) VALUES (?, ?, 'running') RETURNING id", (id, now)
    ).fetchone()
    return ScanID(scan)


def finish(
    connection: Session,
    scan: ScanID,
    incomplete: Sequence[Incomplete],
    now: int,
    *,
    failed: LookError | None,
    unchanged: Collection[str] = (),
    continued: Mapping[str, int] = {},
) -> Scan:
    row = connection.execute("SELECT collector, status FROM scans WHERE id = ?", (scan,)).fetchone()
    if row is None:
        raise InventoryError("other", f"scan {scan} is unknown: nothing to finish")
    collector, status = row
    # What was told is little of what the collector watches. Where that is a good part of the inventory, it is looked for in
    # the tables as they lie: by the index over all that the collector watches it takes two and a half times as long.
    few = bool(unchanged) and _watches_much(connection, collector)
    if status == "running":
        scopes = {storable(each.scope) for each in incomplete} | {storable(each) for each in unchanged}
        if failed is None and "" not in scopes:
            begun = {storable(scope): since for scope, since in continued.items()}
            _stop_watching(
                connection,
                "collector = ?",
                [collector],
                now,
                except_scan=scan,
                except_scopes=scopes | begun.keys(),
                few=few,
            )
            for scope, since in begun.items():
                if scope not in scopes:
                    _stop_unseen_since(connection, collector, scope, since, now)
        if failed is not None:
            _close(connection, scan, collector, "failed", failed, now, few=few)
        elif incomplete:
            _close(connection, scan, collector, "partial", _error_of(incomplete), now, few=few)
        else:
            _close(connection, scan, collector, "complete", None, now, few=few)
    # Finished already: the caller did not learn that its first call had been kept.
    return read_scans(connection, "s.id = ?", (scan,))[0]


def _watches_much(connection: Session, collector: int) -> bool:
    """A quarter or more of all places that there ever were, by the largest of its scans: to count them takes too long."""
    (largest,) = connection.execute(
        "SELECT coalesce(max(observations), 0) FROM scans WHERE collector = ?", (collector,)
    ).fetchone()
    return int(largest) * 4 > connection.last_id("locations")


def _stop_unseen_since(connection: Session, collector: int, scope: str, since: int, now: int) -> None:
    """Of a scope: what no scan saw from the one on that was running then. That one is forgotten, or was never here (a
    backup from before it was restored): nothing."""
    (first,) = connection.execute(
        """
        SELECT coalesce(max(id), 0) FROM scans
        WHERE collector = ? AND started_at <= ? AND (finished_at IS NULL OR finished_at >= ?)
        """,
        (collector, since, since),
    ).fetchone()
    _stop_watching(connection, "collector = ? AND w.scope = ? AND k.scan < ?", [collector, scope, first], now)


def gone(connection: Session, collector: str, places: Iterable[tuple[str, int]], now: int) -> int:
    """The collector watches these places (URI, and when it saw that they are gone) no more, unless it has seen them
    later: how many it stopped watching."""
    connection.scratch("gone", "location BIGINT PRIMARY KEY")
    connection.executemany(
        """
        INSERT INTO gone
        SELECT l.id FROM locations l
        CROSS JOIN watches w ON w.location = l.id AND w.stopped_at IS NULL
        CROSS JOIN collectors c ON c.id = w.collector AND c.name = ?
        CROSS JOIN looks k ON k.location = l.id AND k.collector = c.id AND k.seen <= ?
        WHERE l.uri = ? ON CONFLICT DO NOTHING
        """,
        [(storable(collector), at, storable(uri)) for uri, at in places],
    )
    row = connection.execute("SELECT id FROM collectors WHERE name = ?", (storable(collector),)).fetchone()
    (count,) = connection.execute("SELECT count(*) FROM gone").fetchone()
    if row is not None and count:
        which = "collector = ? AND w.location IN (SELECT g.location FROM gone g)"
        _stop_watching(connection, which, [row[0]], now)
    return int(count)


def abandon(connection: Session, keep: Iterable[str], now: int) -> int:
    """How many locations were retired. A scan that still runs has failed: what somebody saw for it, and says later, would
    come to life again, and nobody would ever miss it."""
    kept = {storable(name) for name in keep}
    gone = [
        id
        for id, name in connection.execute(
            "SELECT id, name FROM collectors WHERE abandoned = 0"
            " OR id IN (SELECT s.collector FROM scans s WHERE s.status = 'running')"
        ).fetchall()
        if name not in kept
    ]
    if not gone:
        return 0
    marks = ",".join("?" * len(gone))
    connection.execute(f"UPDATE collectors SET abandoned = 1 WHERE id IN ({marks})", gone)
    for scan, collector in connection.execute(
        f"SELECT id, collector FROM scans WHERE collector IN ({marks}) AND status = 'running'", gone
    ).fetchall():
        _close(connection, scan, collector, "failed", _ABANDONED, now)
    return _stop_watching(connection, f"collector IN ({marks})", gone, now)


def _error_of(incomplete: Sequence[Incomplete]) -> LookError:
    shown = "; ".join(f"{each.scope or 'everything'}: {each.error.message}" for each in incomplete[:_NAMED])
    more = f"; and {len(incomplete) - _NAMED} more" if len(incomplete) > _NAMED else ""
    return LookError(kind=incomplete[0].error.kind, message=shown + more)


def _close(
    connection: Session,
    scan: int,
    collector: int,
    status: ScanStatus,
    error: LookError | None,
    now: int,
    *,
    few: bool = False,
) -> None:
    """`few`: the scan looked at few of the places that its collector watches."""
    joined = (
        f"looks k CROSS JOIN watches w ON w.location = k.location AND w.collector = k.collector"
        f" WHERE {connection.unindexed}k.collector = ?"
        if few
        else "watches w INDEXED BY watches_by_collector"
        " CROSS JOIN looks k ON k.location = w.location AND k.collector = w.collector WHERE w.collector = ?"
    )
    # Counted from the looks rather than summed on the way: recording a batch twice counts once.
    connection.execute(
        f"""
        UPDATE scans SET status = ?, error_kind = ?, error_message = ?, finished_at = max(started_at, ?),
            (observations, errors) = (
                SELECT count(*), coalesce(sum(k.failed), 0)
                FROM {joined} AND w.stopped_at IS NULL AND k.scan = ?)
        WHERE id = ?
        """,
        (
            status,
            None if error is None else error.kind,
            None if error is None else storable(error.message),
            now,
            collector,
            scan,
            scan,
        ),
    )


def _stop_watching(
    connection: Session,
    which: str,
    parameters: Sequence[int | str],
    now: int,
    *,
    except_scan: int = -1,
    except_scopes: Iterable[str] = (),
    few: bool = False,
) -> int:
    """`few`: the condition, which begins with a column of `watches`, holds for many of which only few are concerned.
    Collectors stop watching what they did not see; what nobody watches then is retired: how many."""
    scopes = sorted(except_scopes)
    connection.scratch("stopped", "location BIGINT, collector BIGINT")
    stopped = connection.execute(
        f"""
        INSERT INTO stopped
        SELECT w.location, w.collector FROM watches w
        CROSS JOIN looks k ON k.location = w.location AND k.collector = w.collector
        WHERE {connection.unindexed if few else ""}w.{which} AND w.stopped_at IS NULL AND k.scan <> ?
            {f"AND w.scope NOT IN ({','.join('?' * len(scopes))})" if scopes else ""}
        """,
        [*parameters, except_scan, *scopes],
    ).rowcount
    if not stopped:
        return 0
    connection.execute(
        "UPDATE watches SET stopped_at = ? WHERE (location, collector) IN (SELECT g.location, g.collector FROM stopped g)",
        (now,),
    )
    connection.scratch("retired", "location BIGINT PRIMARY KEY")
    retired = connection.execute(
        """
        INSERT INTO retired
        SELECT DISTINCT g.location FROM stopped g
        WHERE NOT EXISTS (SELECT 1 FROM watches w WHERE w.location = g.location AND w.stopped_at IS NULL)
        """
    ).rowcount
    # A clock that went back must not end what was seen later.
    last = "(SELECT max(k.seen) FROM looks k WHERE k.location = {})"
    connection.execute(
        f"UPDATE locations SET retired_at = max(?, {last.format('id')})"
        " WHERE id IN (SELECT location FROM retired)",
        (now,),
    )
    connection.execute(
        """
        UPDATE sightings SET
            last_seen = (SELECT max(k.served) FROM looks k WHERE k.location = sightings.location),
            ended_at = (SELECT l.retired_at FROM locations l WHERE l.id = sightings.location)
        WHERE ended_at IS NULL AND location IN (SELECT location FROM retired)
        """
    )
    # Due as well if others still watch: the collectors' names and labels have changed.
    connection.execute(
        "UPDATE judgements SET revision = revision + 1, due_at = min(coalesce(due_at, ?), ?)"
        " WHERE location IN (SELECT location FROM stopped)",
        (now, now),
    )
    return retired


_SCAN = """
SELECT s.id, c.name, s.started_at, s.finished_at, s.status, s.error_kind, s.error_message, s.observations, s.errors
FROM scans s JOIN collectors c ON c.id = s.collector
WHERE {} ORDER BY c.name
"""


def read_scans(connection: Session, which: str, parameters: Sequence[object] = ()) -> list[Scan]:
    """Scans `s` of collectors `c` for which the SQL condition holds, by collector."""
    return [
        Scan(
            id=ScanID(id),
            collector=collector,
            started_at=from_micros(started_at),
            finished_at=from_micros(finished_at),
            status=status,
            error=look_error(kind, message),
            observations=observations,
            errors=errors,
        )
        for id, collector, started_at, finished_at, status, kind, message, observations, errors in connection.execute(
            _SCAN.format(which), parameters
        )
    ]


def look_error(kind: str | None, message: str | None) -> LookError | None:
    if kind is None:
        return None
    # A kind that a newer collector knew and this version does not.
    known: ErrorKind = kind if kind in get_args(ErrorKind) else "other"  # type: ignore[assignment]
    return LookError(kind=known, message=message or "")
