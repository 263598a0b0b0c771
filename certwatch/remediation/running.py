"""Remediation by itself: proposes, begins what is approved, and brings everything that has begun to its end."""

import asyncio
import fcntl
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from certwatch.inventory.store import InventoryError
from certwatch.remediation.apply import carry_out
from certwatch.remediation.book import ACTIVE, BEGUN, Plan
from certwatch.remediation.failure import RemediationError
from certwatch.remediation.plan import Draft, Unplannable
from certwatch.remediation.policy import Policy
from certwatch.remediation.propose import propose, take_up
from certwatch.remediation.world import World
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import INCIDENT_SECONDS, REMEDIATION_ACTIVE, REMEDIATION_UNPLANNABLE

log = get_logger(__name__)

HOUR = timedelta(hours=1)
#: Between two looks into the book, in which people may have approved something.
BOOK_SECONDS = 1.0


class ExecutorLock:
    """One process carries plans out: held until `release` or the end of the process, however it ends."""

    def __init__(self, directory: Path) -> None:
        """Raises RemediationError "refused" when another process has it."""
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file: int | None = os.open(
                directory / "remediation.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise RemediationError("book", f"{directory}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            self._file = None
            raise RemediationError("refused", f"{directory}: another process carries out its plans") from None

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Remediation:
    """Owned by the event loop."""

    def __init__(self, world: World, policies: Sequence[Policy], *, every: timedelta, at_once: int) -> None:
        self._world = world
        self._policies = tuple(policies)
        self._every = every
        self._slots = asyncio.Semaphore(at_once)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        #: What cannot be planned, by the last look.
        self.unplannable: tuple[Unplannable, ...] = ()

    async def run(self) -> None:
        """Until cancelled. What is under way then goes on with the next start."""
        try:
            while True:
                await self._round()
                for _ in range(max(1, int(self._every.total_seconds() / BOOK_SECONDS))):
                    await asyncio.sleep(BOOK_SECONDS)
                    await self._begin()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _round(self) -> None:
        try:
            added = await asyncio.to_thread(self._propose)
        except (InventoryError, RemediationError) as error:
            log.error("remediation_not_proposed", error=error.message)
            return
        for id in added:
            log.info("remediation_planned", plan=id)
        await self._begin()

    def _propose(self) -> list[int]:
        now = self._world.clock()
        with self._world.reading() as reader:
            drafts = propose(reader, self._policies, now)
        unplannable = tuple(each for each in drafts if isinstance(each, Unplannable))
        for each in unplannable:
            if each not in self.unplannable:
                log.warning("remediation_unplannable", title=each.title, why=each.why)
        self.unplannable = unplannable
        REMEDIATION_UNPLANNABLE.set(len(unplannable))
        return list(take_up(self._world.book, drafts, self._policies, now))

    async def _begin(self) -> None:
        """Whatever may begin now, or has begun and nobody goes on with."""
        try:
            active = await asyncio.to_thread(self._world.book.active)
            incidents = await asyncio.to_thread(self._world.book.incidents)
        except RemediationError as error:
            log.error("remediation_book_unreadable", error=error.message)
            return
        for state in ACTIVE:
            REMEDIATION_ACTIVE.labels(state).set(sum(1 for each in active if each.state == state))
        now = self._world.clock()
        INCIDENT_SECONDS.clear()
        for incident in incidents[-20:]:
            lasted = (incident.ended or now) - incident.at
            INCIDENT_SECONDS.labels(
                str(incident.id), str(incident.drill).lower(), str(incident.ended is None).lower()
            ).set(lasted.total_seconds())
        for plan in active:
            if plan.id not in self._tasks and await self._may_begin(plan, now):
                task = asyncio.create_task(self._carry(plan.id))
                self._tasks[plan.id] = task
                task.add_done_callback(lambda done, id=plan.id: self._ended(id, done))  # type: ignore[misc]

    def _ended(self, id: int, task: asyncio.Task[None]) -> None:
        del self._tasks[id]
        if not task.cancelled() and task.exception() is not None:
            log.error("remediation_broke", plan=id, error=repr(task.exception()))

    async def _may_begin(self, plan: Plan, now: datetime) -> bool:
        if plan.state in BEGUN:
            return True
        policy = self._world.policies.get(plan.policy)
        if plan.state != "approved" or policy is None:
            return False
        if plan.not_before_try is not None and plan.not_before_try > now:
            return False
        if plan.incident is not None:
            return True  # neither rates nor frozen days keep a compromised key in use
        if policy.frozen_at(now):
            return False
        if plan.began is not None:
            return True
        begun = await asyncio.to_thread(self._world.book.begun_since, plan.policy, now - HOUR)
        waiting = sum(1 for id in self._tasks if id != plan.id)
        return begun < policy.keys.most_per_hour and waiting <= policy.keys.most_per_hour

    async def _carry(self, id: int) -> None:
        async with self._slots:
            try:
                await carry_out(self._world, id)
            except RemediationError as error:
                log.error("remediation_stuck", plan=id, error=error.message)
                # Not at once again: whatever it is, a person must see to it.
                await asyncio.sleep(60)


def planned(drafts: Sequence[Draft | Unplannable]) -> tuple[list[Draft], list[Unplannable]]:
    return (
        [each for each in drafts if isinstance(each, Draft)],
        [each for each in drafts if isinstance(each, Unplannable)],
    )
