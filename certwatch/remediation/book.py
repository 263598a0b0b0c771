"""The book of roll-outs: an SQLite file of its own. What it says was done, was done or can be done again."""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from certwatch.inventory.instants import from_micros, to_micros
from certwatch.model.certificate import Fingerprint
from certwatch.remediation.failure import RemediationError
from certwatch.remediation.plan import Draft
from certwatch.remediation.records import ACTIVE, Approval, Incident, Plan, PlanState, Step, StepState

APPLICATION_ID = 0x43575252  # "CWRR"
VERSION = 2
BUSY_SECONDS = 10


def _statements(connection: sqlite3.Connection, name: str) -> None:
    for statement in files(__package__).joinpath(name).read_text().split(";\n"):
        if statement.strip():
            connection.execute(statement)


_PLAN = (
    "id, created, policy, cause, former, title, names, served, by, needed, drill, incident, state, began, ended, chain,"
    " not_before_try, tries, why, orders, service"
)


class Book:
    """Any thread may call it: each call is one transaction."""

    def __init__(self, directory: Path) -> None:
        """Makes it if it is missing. Raises RemediationError."""
        self.path = directory / "remediation.db"
        self._lock = threading.Lock()
        with self._translate():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            self._connection = sqlite3.connect(
                f"file:{quote(str(self.path))}?mode=rw",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=BUSY_SECONDS,
            )
            self._prepare()

    def _prepare(self) -> None:
        connection = self._connection
        connection.execute("PRAGMA journal_mode = WAL")
        # What is written before a step is on disk before the step is taken.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if version > VERSION or (version and application != APPLICATION_ID):
            connection.execute("ROLLBACK")
            raise RemediationError("book", f"{self.path}: is of a newer certwatch, or of another program")
        if not version:
            _statements(connection, "schema.sql")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        elif version < VERSION:
            _statements(connection, "0002_orders.sql")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")

    @contextmanager
    def _translate(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise RemediationError("book", f"{self.path}: {error}") from error
        except OSError as error:
            raise RemediationError("book", f"{self.path}: {error.strerror}") from error

    @contextmanager
    def _act(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translate():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # Plans.

    def add(
        self,
        draft: Draft,
        now: datetime,
        *,
        by: str,
        incident: int | None = None,
        later: datetime | None = None,
    ) -> Plan | None:
        """`later`: it is not begun before that. None: something is being done about that certificate already."""
        with self._act() as connection:
            cursor = connection.execute(
                "INSERT INTO plans (created, policy, cause, former, title, names, served, by, needed, drill, incident, state, why,"
                " not_before_try, service) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    to_micros(now),
                    draft.policy,
                    " ".join(draft.cause),
                    draft.former,
                    draft.title,
                    " ".join(draft.names),
                    "\n".join(draft.served),
                    by,
                    draft.needed,
                    draft.drill,
                    incident,
                    "waiting" if draft.needed else "approved",
                    draft.why,
                    None if later is None else to_micros(later),
                    draft.service,
                ),
            )
            if not cursor.rowcount:
                return None
            id = cast("int", cursor.lastrowid)
            connection.executemany(
                "INSERT INTO steps (plan, place, kind, target, deployer, state) VALUES (?, ?, ?, ?, ?, 'todo')",
                [
                    (id, place, each.kind, each.target, each.deployer)
                    for place, each in enumerate(draft.steps)
                ],
            )
        return self.plan(id)

    def plan(self, id: int) -> Plan:
        """Raises RemediationError "not-found"."""
        found = self.plans("id = ?", id)
        if not found:
            raise RemediationError("not-found", f"there is no plan {id}. See certwatch remediate status")
        return found[0]

    def active(self) -> list[Plan]:
        return self.plans(f"state IN ({','.join('?' * len(ACTIVE))})", *ACTIVE)

    def plans(self, where: str, *values: object, newest: int | None = None) -> list[Plan]:
        """Oldest first; with `newest` so many of the newest."""
        order = "ORDER BY id" if newest is None else "ORDER BY id DESC LIMIT ?"
        more = () if newest is None else (newest,)
        with self._lock, self._translate():
            rows = self._connection.execute(
                f"SELECT {_PLAN} FROM plans WHERE {where} {order}",  # noqa: S608
                (*values, *more),
            ).fetchall()
            return [self._whole(row) for row in rows]

    def _whole(self, row: tuple[Any, ...]) -> Plan:
        (id, created, policy, cause, former, title, names, served, by, needed, drill, incident, state, began, ended, chain,
         later, tries, why, orders, service) = row  # fmt: skip
        steps = self._connection.execute(
            "SELECT place, kind, target, deployer, state, began, ended, said FROM steps WHERE plan = ? ORDER BY place",
            (id,),
        ).fetchall()
        approvals = self._connection.execute(
            "SELECT person, at, why FROM approvals WHERE plan = ? AND withdrawn IS NULL ORDER BY at", (id,)
        ).fetchall()
        return Plan(
            id=id,
            created=from_micros(created),
            policy=policy,
            cause=tuple(cause.split()),
            former=Fingerprint(bytes(former)),
            title=title,
            names=tuple(names.split()),
            served=tuple(served.split("\n")) if served else (),
            by=by,
            needed=needed,
            drill=bool(drill),
            incident=incident,
            state=state,
            began=from_micros(began),
            ended=from_micros(ended),
            chain=None if chain is None else bytes(chain),
            not_before_try=from_micros(later),
            tries=tries,
            why=why or "",
            orders=orders,
            service=service,
            steps=tuple(
                Step(
                    place=place,
                    kind=kind,
                    target=target,
                    deployer=deployer,
                    state=state,
                    began=from_micros(began),
                    ended=from_micros(ended),
                    said=said or "",
                )
                for place, kind, target, deployer, state, began, ended, said in steps
            ),
            approvals=tuple(
                Approval(person=person, at=from_micros(at), why=why) for person, at, why in approvals
            ),
        )

    def turn(
        self,
        plan: int,
        state: PlanState,
        now: datetime,
        *,
        if_in: Sequence[PlanState],
        why: str = "",
        later: datetime | None = None,
    ) -> bool:
        """Into another state, if it is in one of `if_in`: False otherwise. `later`: it is not tried before that."""
        with self._act() as connection:
            marks = ",".join("?" * len(if_in))
            done = connection.execute(
                "UPDATE plans SET state = ?1, why = ?2, not_before_try = ?3,"  # noqa: S608
                " began = coalesce(began, CASE WHEN ?1 = 'running' THEN ?4 END),"
                " tries = tries + (?1 = 'running' AND state = 'approved'),"
                " ended = CASE WHEN ?1 IN ('verified', 'rolled-back', 'failed', 'withdrawn') THEN ?4 END"
                f" WHERE id = ?5 AND state IN ({marks})",
                (state, why, None if later is None else to_micros(later), to_micros(now), plan, *if_in),
            ).rowcount
            if state in ("verified", "failed", "withdrawn", "rolled-back"):
                self._close_incidents(connection, now)
        return bool(done)

    def set_chain(self, plan: int, chain: bytes) -> None:
        with self._act() as connection:
            connection.execute("UPDATE plans SET chain = ? WHERE id = ?", (chain, plan))

    def count_order(self, plan: int) -> int:
        """One more certificate is about to be asked for: how many that makes."""
        with self._act() as connection:
            [(orders,)] = connection.execute(
                "UPDATE plans SET orders = orders + 1 WHERE id = ? RETURNING orders", (plan,)
            ).fetchall()
        return int(orders)

    def step(self, plan: int, place: int, state: StepState, now: datetime, said: str = "") -> None:
        with self._act() as connection:
            connection.execute(
                "UPDATE steps SET state = ?1, said = ?2, began = CASE WHEN ?1 = 'doing' THEN ?3 ELSE began END,"
                " ended = CASE WHEN ?1 = 'doing' THEN NULL ELSE ?3 END WHERE plan = ?4 AND place = ?5",
                (state, said[:1000], to_micros(now), plan, place),
            )

    def begun_since(self, policies: Sequence[str], since: datetime, now: datetime) -> int:
        """By any of `policies`. What began in a future that was none (somebody had set the clock) does not count."""
        marks = ",".join("?" * len(policies))
        with self._lock, self._translate():
            [(count,)] = self._connection.execute(
                f"SELECT count(*) FROM plans WHERE policy IN ({marks}) AND began BETWEEN ? AND ?"  # noqa: S608
                " AND incident IS NULL",
                (*policies, to_micros(since), to_micros(now)),
            ).fetchall()
        return int(count)

    def tried_since(self, former: Fingerprint, since: datetime) -> int:
        """Roll-outs of that certificate that were begun since, and came to nothing."""
        with self._lock, self._translate():
            [(count,)] = self._connection.execute(
                "SELECT count(*) FROM plans WHERE former = ? AND created >= ? AND state IN ('rolled-back', 'failed')",
                (former, to_micros(since)),
            ).fetchall()
        return int(count)

    def verified_places(self, former: Fingerprint, since: datetime) -> set[str]:
        """Where it was replaced since, and collectors may not have seen it yet: URIs."""
        with self._lock, self._translate():
            rows = self._connection.execute(
                "SELECT id, served FROM plans WHERE former = ? AND ended >= ? AND state = 'verified'",
                (former, to_micros(since)),
            ).fetchall()
            targets = [
                target
                for id, _ in rows
                for (target,) in self._connection.execute(
                    "SELECT target FROM steps WHERE plan = ? AND kind = 'deploy'", (id,)
                )
            ]
        return {*targets, *(each for _, served in rows for each in served.split("\n") if each)}

    # Approvals.

    def approve(self, plan: int, person: str, why: str, now: datetime) -> Plan:
        """Raises RemediationError "refused"."""
        found = self.plan(plan)
        if found.state != "waiting":
            raise RemediationError("refused", f"plan {plan} is {found.state}: it waits for nobody")
        if person == found.by and found.needed > 1:
            raise RemediationError("refused", f"plan {plan}: {person} asked for it, others must approve it")
        if any(each.person == person for each in found.approvals):
            raise RemediationError(
                "refused", f"plan {plan}: {person} has approved it already, somebody else must too"
            )
        with self._act() as connection:
            connection.execute(
                "INSERT INTO approvals (plan, person, at, why) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET at = excluded.at, why = excluded.why, withdrawn = NULL",
                (plan, person, to_micros(now), why),
            )
            [(given,)] = connection.execute(
                "SELECT count(*) FROM approvals WHERE plan = ? AND withdrawn IS NULL", (plan,)
            ).fetchall()
            if given >= found.needed:
                connection.execute(
                    "UPDATE plans SET state = 'approved' WHERE id = ? AND state = 'waiting'", (plan,)
                )
        return self.plan(plan)

    def withdraw_approval(self, plan: int, person: str, now: datetime) -> Plan:
        """What is under way is rolled back then. Raises RemediationError "refused"."""
        found = self.plan(plan)
        if not found.is_active or found.state == "rolling-back":
            raise RemediationError("refused", f"plan {plan} is {found.state}: no approval counts any more")
        with self._act() as connection:
            taken = connection.execute(
                "UPDATE approvals SET withdrawn = ? WHERE plan = ? AND person = ? AND withdrawn IS NULL",
                (to_micros(now), plan, person),
            ).rowcount
            connection.execute(
                "UPDATE plans SET state = CASE state WHEN 'approved' THEN 'waiting' ELSE 'rolling-back' END,"
                " why = CASE state WHEN 'approved' THEN why ELSE ?2 END"
                " WHERE id = ?1 AND state IN ('approved', 'running', 'verifying') AND ?3",
                (plan, f"{person} has withdrawn the approval", taken),
            )
        if not taken:
            raise RemediationError("refused", f"plan {plan}: {person} has not approved it")
        return self.plan(plan)

    # Incidents.

    def open_incident(self, about: str, by: str, why: str, now: datetime, *, drill: bool) -> int:
        with self._act() as connection:
            return cast(
                "int",
                connection.execute(
                    "INSERT INTO incidents (at, about, by, why, drill) VALUES (?, ?, ?, ?, ?)",
                    (to_micros(now), about, by, why, drill),
                ).lastrowid,
            )

    def close_empty(self, incident: int, now: datetime) -> None:
        """Of an incident that nothing is to be done about."""
        with self._act() as connection:
            self._close_incidents(connection, now)

    def _close_incidents(self, connection: sqlite3.Connection, now: datetime) -> None:
        # A plan that came to nothing keeps its incident open, until a later one of the same certificate is verified.
        connection.execute(
            "UPDATE incidents SET ended = ?1 WHERE ended IS NULL AND NOT EXISTS (SELECT 1 FROM plans p"
            " WHERE p.incident = incidents.id AND p.state NOT IN ('verified', 'withdrawn') AND NOT EXISTS"
            " (SELECT 1 FROM plans q WHERE q.former = p.former AND q.id > p.id AND q.state = 'verified'))",
            (to_micros(now),),
        )

    def incident_states(self) -> dict[int, dict[str, int]]:
        """Plans of each incident, by state. Of a certificate with several, the newest counts."""
        found: dict[int, dict[str, int]] = {}
        with self._lock, self._translate():
            rows = self._connection.execute(
                "SELECT incident, state, count(*) FROM plans p WHERE incident IS NOT NULL AND NOT EXISTS"
                " (SELECT 1 FROM plans q WHERE q.incident = p.incident AND q.former = p.former AND q.id > p.id)"
                " GROUP BY incident, state"
            ).fetchall()
        for incident, state, count in rows:
            found.setdefault(incident, {})[state] = count
        return found

    def incidents(self) -> list[Incident]:
        """Oldest first."""
        with self._lock, self._translate():
            rows = self._connection.execute(
                "SELECT id, at, about, by, why, drill, ended FROM incidents ORDER BY id"
            ).fetchall()
        return [
            Incident(
                id=id,
                at=from_micros(at),
                about=about,
                by=by,
                why=why,
                drill=bool(drill),
                ended=from_micros(ended),
            )
            for id, at, about, by, why, drill, ended in rows
        ]
