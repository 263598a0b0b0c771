"""Scans in shards: who has which, and what they hand in, in the same database as the inventory.

A shard is taken by a claim. Whoever took it and is silent for longer than its lease may lose it to another claim; what is
handed in with a claim that is not the last one is refused, in the same transaction that would have recorded it. Claims are
random numbers: a server that crashed, or took over and was behind, may have forgotten one that it gave, and must not give
it to another worker as well. Instants are the server's: the clocks of workers decide nothing.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from certwatch.inventory.instants import to_micros
from certwatch.inventory.looks import prepare
from certwatch.inventory.postgresql import clocks
from certwatch.inventory.postgresql.failures import translate
from certwatch.inventory.postgresql.session import PostgreSQLSession
from certwatch.inventory.postgresql.store import Line
from certwatch.inventory.record import record
from certwatch.inventory.shards import (
    Claimed,
    Ended,
    Foreign,
    MissingBatchError,
    OthersPlaceError,
    Progress,
    SupersededError,
    Ticket,
    Via,
    WorkerState,
    ZoneState,
)
from certwatch.inventory.store import InventoryError, Recorded
from certwatch.inventory.text import storable
from certwatch.model.observation import Observation, ScanID

T = TypeVar("T")

#: A shard that so many workers in a row fell silent over, before they handed in anything, or could not hand in, is not given
#: to another one.
MOST_LOST = 5
#: Workers that said nothing for so many leases are forgotten.
_FORGOTTEN_LEASES = 20
#: Priority in the queue before which nothing goes.
FIRST = 10
#: What waits in the queue for so long goes first as well: there may always be something more urgent.
_PATIENCE_SECONDS = 600
#: For a worker that was told of a shard, to take it. Then it is told again: the queue may not have heard that the job is over.
_TAKING_SECONDS = 60
#: Scopes with a near expiry that are read; more are as urgent as the rest.
_MOST_URGENT = 10_000


class Zones:
    """One connection, made when it is needed. Its owner's calls come one at a time; they block and raise InventoryError."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._line = Line(url)

    def close(self) -> None:
        """May be called twice."""
        self._line.close()

    # The daemon's side.

    def open_scan(self, scan: ScanID, zone: str, spec: str, priorities: Sequence[int]) -> None:
        """Divide a scan that was begun into as many shards as there are priorities."""
        with self._beside() as session:
            session.execute("INSERT INTO zone_scans (scan, zone, spec) VALUES (?, ?, ?)", (scan, zone, spec))
            session.execute(
                "INSERT INTO shards (scan, part, parts, priority)"
                " SELECT ?, n - 1, ?, p FROM unnest(?::integer[]) WITH ORDINALITY AS each (p, n)",
                (scan, len(priorities), list(priorities)),
            )

    def unfinished(self, collector: str, zone: str, spec: str) -> ScanID | None:
        """A scan of the very same that another daemon began and did not end. What is no such scan is forgotten."""
        with self._beside() as session:
            session.execute(
                """
                DELETE FROM zone_scans z USING scans s, collectors c
                WHERE s.id = z.scan AND c.id = s.collector AND c.name = ?
                    AND NOT (s.status = 'running' AND z.zone = ? AND z.spec = ?)
                """,
                (storable(collector), zone, spec),
            )
            row = session.execute(
                "SELECT max(z.scan) FROM zone_scans z JOIN scans s ON s.id = z.scan JOIN collectors c ON c.id = s.collector"
                " WHERE c.name = ?",
                (storable(collector),),
            ).fetchone()
            return None if row is None or row[0] is None else ScanID(row[0])

    def urgent(self, collector: str, after: datetime, before: datetime) -> frozenset[str]:
        """Scopes of a collector in which a leaf ends between these instants."""
        with self._beside() as session:
            rows = session.execute(
                """
                SELECT DISTINCT w.scope FROM certificates e
                JOIN sightings s ON s.certificate = e.id AND s.ended_at IS NULL AND s.position = 0
                JOIN watches w ON w.location = s.location AND w.stopped_at IS NULL
                JOIN collectors c ON c.id = w.collector AND c.name = ?
                WHERE e.not_after BETWEEN ? AND ? LIMIT ?
                """,
                (storable(collector), to_micros(after), to_micros(before), _MOST_URGENT),
            ).fetchall()
            return frozenset(scope for (scope,) in rows)

    def advance(
        self,
        scan: ScanID,
        *,
        per_slot: int,
        least: int,
        heard_seconds: Callable[[], float] = lambda: math.inf,
    ) -> Progress:
        """How far a scan has come. Shards of workers that are silent wait again; so many are to be in the queue or running
        that each slot of the zone's workers has `per_slot` of them, and at least `least`. `heard_seconds`: how long the server
        has answered without a gap, asked when it answers: whose lease is longer may have spoken to a server that did not hear."""
        with self._beside() as session:
            lost = session.execute(
                f"""
                UPDATE shards s SET lost = silent.lost, ticket = NULL, waiting_since = now(),
                    state = CASE WHEN silent.lost < {MOST_LOST} THEN 'waiting' ELSE 'done' END
                FROM (
                    SELECT t.id, CASE WHEN t.received > 0 THEN 0
                        WHEN coalesce(w.lease_seconds, 0) > ? THEN t.lost ELSE t.lost + 1 END AS lost
                    FROM shards t LEFT JOIN workers w ON w.id = t.worker
                    WHERE t.scan = ? AND t.state = 'running'
                        AND (w.id IS NULL OR w.seen_at <= now() - make_interval(secs => w.lease_seconds))
                    FOR UPDATE OF t
                ) silent
                WHERE s.id = silent.id
                """,
                (min(heard_seconds(), 1e9), scan),
            ).rowcount
            waiting, running, done, changed = session.execute(
                """
                SELECT count(*) FILTER (WHERE state = 'waiting'), count(*) FILTER (WHERE state = 'running'),
                    count(*) FILTER (WHERE state = 'done'), coalesce(sum(changed), 0)
                FROM shards WHERE scan = ?
                """,
                (scan,),
            ).fetchone()
            (slots,) = session.execute(
                "SELECT coalesce(sum(w.slots), 0) FROM workers w JOIN zone_scans z ON z.zone = w.zone AND z.scan = ?"
                " WHERE w.seen_at > now() - make_interval(secs => w.lease_seconds)",
                (scan,),
            ).fetchone()
            session.execute(
                f"""
                UPDATE procrastinate_jobs j SET priority = {FIRST} FROM shards s
                WHERE s.scan = ? AND s.state = 'waiting' AND j.id = s.ticket AND j.status = 'todo' AND j.priority < {FIRST}
                    AND EXISTS (SELECT 1 FROM procrastinate_events e WHERE e.job_id = j.id AND e.type = 'deferred'
                        AND e.at < now() - interval '{_PATIENCE_SECONDS} s')
                """,
                (scan,),
            )
            # A job that is neither waiting nor being done any more told nobody, or one who did not take the shard.
            unknown = f"""
                FROM shards s WHERE s.scan = ? AND s.state = 'waiting' AND NOT EXISTS (
                    SELECT 1 FROM procrastinate_jobs j WHERE j.id = s.ticket AND (j.status = 'todo'
                        OR j.status = 'doing' AND EXISTS (SELECT 1 FROM procrastinate_events e WHERE e.job_id = j.id
                            AND e.type = 'started' AND e.at > now() - interval '{_TAKING_SECONDS} s')))
                """
            (untold,) = session.execute(f"SELECT count(*) {unknown}", (scan,)).fetchone()
            room = max(least, per_slot * slots) - running - (waiting - untold)
            rows = session.execute(
                f"SELECT s.id, s.priority {unknown} ORDER BY s.priority DESC, s.part LIMIT ?",
                (scan, max(0, room)),
            ).fetchall()
        return Progress(
            waiting=waiting,
            running=running,
            done=done,
            changed=int(changed),
            taken_over=lost,
            tickets=tuple(Ticket(shard=shard, priority=priority) for shard, priority in rows),
        )

    def told(self, tickets: Mapping[int, int]) -> None:
        """Which job in the queue is of which shard."""
        with self._beside() as session:
            session.execute(
                "UPDATE shards SET ticket = t.job FROM unnest(?::bigint[], ?::bigint[]) AS t (shard, job) WHERE id = t.shard",
                (list(tickets), list(tickets.values())),
            )

    def ended(self, scan: ScanID) -> list[Ended]:
        """Shards that are done, in their order."""
        with self._beside() as session:
            return [
                Ended(part=part, parts=parts, worker=None if outcome is None else worker, outcome=outcome)
                for part, parts, worker, outcome in session.execute(
                    "SELECT part, parts, worker, outcome FROM shards WHERE scan = ? AND state = 'done' ORDER BY part",
                    (scan,),
                ).fetchall()
            ]

    def close_scan(self, scan: ScanID) -> None:
        """Its shards are forgotten: who still has one is refused."""
        with self._beside() as session:
            session.execute("DELETE FROM zone_scans WHERE scan = ?", (scan,))

    def tidy(self, task: str) -> None:
        """What is left of scans that are over is forgotten, and jobs of that task that tell of nothing any more."""
        with self._beside() as session:
            session.execute(
                "DELETE FROM zone_scans z USING scans s WHERE s.id = z.scan AND s.status <> 'running'"
            )
            session.execute(
                """
                DELETE FROM procrastinate_jobs j WHERE j.task_name = ? AND j.status = 'todo' AND NOT EXISTS (
                    SELECT 1 FROM shards s WHERE s.id = (j.args->>'shard')::bigint AND s.state <> 'done')
                """,
                (task,),
            )

    def zones(self) -> list[ZoneState]:
        """Every zone that has something to do."""
        with self._beside() as session:
            return [
                ZoneState(
                    zone=zone,
                    waiting=waiting,
                    running=running,
                    oldest_seconds=None if oldest is None else float(oldest),
                )
                for zone, waiting, running, oldest in session.execute(
                    """
                    SELECT z.zone, count(*) FILTER (WHERE s.state = 'waiting'), count(*) FILTER (WHERE s.state = 'running'),
                        extract(epoch FROM now() - min(s.waiting_since) FILTER (WHERE s.state = 'waiting'))
                    FROM zone_scans z JOIN shards s ON s.scan = z.scan GROUP BY z.zone ORDER BY z.zone
                    """
                ).fetchall()
            ]

    def workers(self) -> list[WorkerState]:
        """Those that were heard of lately, by zone and name."""
        with self._beside() as session:
            return [
                WorkerState(
                    zone=zone,
                    name=name,
                    via=via,
                    version=version,
                    slots=slots,
                    running=running,
                    silent_seconds=float(silent),
                    alive=silent <= lease,
                )
                for zone, name, via, version, slots, running, silent, lease in session.execute(
                    """
                    SELECT w.zone, w.name, w.via, w.version, w.slots,
                        (SELECT count(*) FROM shards s WHERE s.worker = w.id AND s.state = 'running'),
                        extract(epoch FROM now() - w.seen_at), w.lease_seconds
                    FROM workers w ORDER BY w.zone, w.name, w.id
                    """
                ).fetchall()
            ]

    # The workers' side.

    def enrol(self, zone: str, name: str, via: Via, version: str, *, slots: int, lease_seconds: float) -> int:
        """A worker's number."""
        # Of a number that a crash took back, the next worker would get the same.
        with self._beside(durable=True) as session:
            session.execute(
                f"DELETE FROM workers WHERE seen_at < now() - make_interval(secs => lease_seconds * {_FORGOTTEN_LEASES})"
            )
            (id,) = session.execute(
                "INSERT INTO workers (zone, name, via, version, slots, lease_seconds) VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
                (zone, storable(name), via, version, slots, lease_seconds),
            ).fetchone()
            return int(id)

    def keep(self, worker: int) -> frozenset[tuple[int, int]] | None:
        """It is alive: which shards it has, and by which claims. None: it was forgotten, and must enrol again."""
        with self._beside() as session:
            if not session.execute("UPDATE workers SET seen_at = now() WHERE id = ?", (worker,)).rowcount:
                return None
            rows = session.execute(
                "SELECT id, claim FROM shards WHERE worker = ? AND state <> 'done'", (worker,)
            ).fetchall()
            return frozenset((shard, claim) for shard, claim in rows)

    def leave(self, worker: int) -> None:
        """It ends: what it has waits for others."""
        with self._beside() as session:
            session.execute("DELETE FROM workers WHERE id = ?", (worker,))

    def claim(self, shard: int, worker: int) -> Claimed | None:
        """None: it is another's, or there is nothing to do any more."""
        with self._beside() as session:
            row = session.execute(
                """
                UPDATE shards s SET state = 'running', claim = 1 + floor(random() * 2147483646)::integer,
                    worker = w.id, received = 0
                FROM zone_scans z, workers w, scans c
                WHERE s.id = ? AND s.state = 'waiting' AND z.scan = s.scan AND w.id = ? AND w.zone = z.zone
                    AND c.id = s.scan AND c.status = 'running'
                RETURNING s.id, s.claim, s.scan, s.part, s.parts, z.spec
                """,
                (shard, worker),
            ).fetchone()
        if row is None:
            return None
        shard, claim, scan, part, parts, spec = row
        return Claimed(shard=shard, claim=claim, scan=ScanID(scan), part=part, parts=parts, spec=spec)

    def record(
        self,
        given: Claimed,
        number: int,
        observations: Sequence[Observation],
        labels: Mapping[str, str],
        *,
        foreign: Foreign | None = None,
    ) -> Recorded | None:
        """Record a claim's batch. Batches are numbered from 1, and each is recorded once: None, it was before. `foreign`: of
        whose places it may not speak; None: it may of all. Raises SupersededError, MissingBatchError, OthersPlaceError."""
        looks = prepare(observations, labels)

        def step(session: PostgreSQLSession) -> Recorded | None:
            received = self._received(session, given)
            if number <= received:
                return None
            if number != received + 1:
                raise MissingBatchError(f"batch {number} comes after {received}")
            if foreign is not None:
                _require_own(session, foreign)
            # A worker's clock that is ahead must not make the inventory believe that time went back; and what it sees must not
            # count as older than what others saw before this scan began, since its clock is behind.
            (began,) = session.execute("SELECT started_at FROM scans WHERE id = ?", (given.scan,)).fetchone()
            now = clocks.latest(session)
            for look in looks:
                look.at = min(max(look.at, began), now)
            done = record(session, given.scan, looks)
            session.execute(
                "UPDATE shards SET received = ?, state = 'running', changed = changed + ? WHERE id = ?",
                (number, done.changed, given.shard),
            )
            return done

        return self._write(step)

    def finish(self, given: Claimed, outcome: str, *, batches: int | None) -> None:
        """The claim's end, after so many batches; None: however many, since it came to nothing. May be called twice. Raises SupersededError, MissingBatchError: a server
        that took over was behind, and lost one."""

        def step(session: PostgreSQLSession) -> None:
            row = session.execute(
                "SELECT 1 FROM shards WHERE id = ? AND claim = ? AND state = 'done' AND outcome IS NOT NULL",
                (given.shard, given.claim),
            ).fetchone()
            if row is None:
                received = self._received(session, given)
                if batches is not None and received != batches:
                    raise MissingBatchError(f"{received} of {batches} batches are there")
                session.execute(
                    "UPDATE shards SET state = 'done', outcome = ? WHERE id = ?",
                    (storable(outcome), given.shard),
                )

        self._write(step)

    def zone_of(self, shard: int) -> tuple[str, str, int] | None:
        """The zone that a shard is for, its spec, and its scan. None: there is no such shard, or not any more."""
        with self._beside() as session:
            row = session.execute(
                "SELECT z.zone, z.spec, z.scan FROM shards s JOIN zone_scans z ON z.scan = s.scan WHERE s.id = ?",
                (shard,),
            ).fetchone()
            return None if row is None else (row[0], row[1], int(row[2]))

    def zone_of_worker(self, worker: int) -> str | None:
        """None: it is not enrolled, or not any more."""
        with self._beside() as session:
            row = session.execute(
                "SELECT zone FROM workers WHERE id = ? AND via = 'push'", (worker,)
            ).fetchone()
            return None if row is None else str(row[0])

    def release(self, shard: int, claim: int, *, failed: bool = False) -> None:
        """Not brought to its end: it waits for others. What was recorded is kept. `failed`: it counts as lost."""
        lost = int(failed)
        with self._beside() as session:
            session.execute(
                f"""
                UPDATE shards SET ticket = NULL, waiting_since = now(), lost = lost + ?, worker = NULL,
                    state = CASE WHEN lost + ? < {MOST_LOST} THEN 'waiting' ELSE 'done' END
                WHERE id = ? AND claim = ? AND state = 'running'
                """,
                (lost, lost, shard, claim),
            )
            # Taken from it before, since it was silent: it is not to be told that it has it.
            session.execute(
                "UPDATE shards SET worker = NULL WHERE id = ? AND claim = ? AND state = 'waiting'",
                (shard, claim),
            )

    @staticmethod
    def _received(session: PostgreSQLSession, given: Claimed) -> int:
        """How many batches the claim has brought; its shard is held until the transaction ends."""
        row = session.execute(
            "SELECT s.received FROM shards s JOIN scans c ON c.id = s.scan"
            " WHERE s.id = ? AND s.claim = ? AND s.state <> 'done' AND c.status = 'running' FOR UPDATE OF s",
            (given.shard, given.claim),
        ).fetchone()
        if row is None:
            raise SupersededError(f"shard {given.shard} of scan {given.scan}: another has it, or it is over")
        return int(row[0])

    def _write(self, step: Callable[[PostgreSQLSession], T]) -> T:
        try:
            with translate(self._url), self._line.writing() as session:
                return step(session)
        except InventoryError as error:
            if error.kind != "unreachable":
                raise
        # Whether it was kept is not known; said twice, it is done once.
        with translate(self._url), self._line.writing() as session:
            return step(session)

    @contextmanager
    def _beside(self, *, durable: bool = False) -> Iterator[PostgreSQLSession]:
        """A short transaction that waits for no writer, nor for the disk unless it is to be `durable`."""
        with translate(self._url), self._line.plain(durable=durable) as session:
            yield session


def _require_own(session: PostgreSQLSession, foreign: Foreign) -> None:
    """Raises OthersPlaceError. A place that nobody watches any more is free, and so is one that others share."""
    row = session.execute(
        """
        SELECT l.uri FROM locations l
        JOIN watches w ON w.location = l.id AND w.stopped_at IS NULL JOIN collectors c ON c.id = w.collector
        WHERE l.uri = ANY(?::text[]) GROUP BY l.uri HAVING bool_and(c.name = ANY(?::text[])) LIMIT 1
        """,
        (
            [storable(each) for each in foreign.places],
            [storable(each) for each in foreign.collectors],
        ),
    ).fetchone()
    if row is not None:
        raise OthersPlaceError(
            f"{row[0]}: only collectors that are not of this zone watch it. If this one shall as well, name it in its own config"
        )
