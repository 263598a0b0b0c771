"""Remediation by itself: proposes, begins what is approved, and brings everything that has begun to its end."""

import asyncio
import fcntl
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from certwatch.inventory.store import InventoryError
from certwatch.remediation.apply import LONGEST_WAIT, carry_out
from certwatch.remediation.failure import RemediationError
from certwatch.remediation.plan import Draft, Unplannable
from certwatch.remediation.policy import Policy
from certwatch.remediation.propose import propose, take_up
from certwatch.remediation.records import ACTIVE, BEGUN, Plan
from certwatch.remediation.stopped import frames_of
from certwatch.remediation.world import World
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import INCIDENT_SECONDS, REMEDIATION_ACTIVE, REMEDIATION_UNPLANNABLE

log = get_logger(__name__)

HOUR = timedelta(hours=1)
#: Between two looks into the book, in which people may have approved something.
BOOK_SECONDS = 1.0
#: After a roll-out that could go neither on nor back.
STUCK_SECONDS = 60.0


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


@dataclass(frozen=True, slots=True)
class _Carried:
    task: asyncio.Task[None]
    #: As it was when it began.
    plan: Plan


class Remediation:
    """Owned by the event loop."""

    def __init__(self, world: World, policies: Sequence[Policy], *, every: timedelta, at_once: int) -> None:
        self._world = world
        self._policies = tuple(policies)
        self._every = every
        self._slots = asyncio.Semaphore(at_once)
        self._tasks: dict[int, _Carried] = {}
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
            tasks = [each.task for each in self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

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
            lasted = max(timedelta(0), (incident.ended or now) - incident.at)
            INCIDENT_SECONDS.labels(
                str(incident.id), str(incident.drill).lower(), str(incident.ended is None).lower()
            ).set(lasted.total_seconds())
        begun = {each.id for each in active if each.began is not None}
        for plan in active:
            if plan.id not in self._tasks and await self._may_begin(plan, now, begun):
                task = asyncio.create_task(self._carry(plan.id))
                self._tasks[plan.id] = _Carried(task, plan)
                task.add_done_callback(lambda _, id=plan.id: self._tasks.pop(id, None))  # type: ignore[misc]

    async def _may_begin(self, plan: Plan, now: datetime, begun: Collection[int]) -> bool:
        """`begun`: of what is under way, what the book has as begun."""
        if self._in_the_way(plan):
            return False
        if plan.state in BEGUN:
            return True
        policy = self._world.policies.get(plan.policy)
        if plan.state != "approved" or policy is None:
            return False
        # A try that is further off than any can be was set by a clock that was wrong.
        latest = max(LONGEST_WAIT, policy.keys.spread)
        if plan.not_before_try is not None and now < plan.not_before_try <= now + latest:
            return False
        # The issuer said so: asking it again sooner makes it worse for everybody.
        if self._world.paused.get(policy.issuer_id or policy.name, 0.0) > time.monotonic():
            return False
        if plan.incident is not None:
            return True  # neither rates nor frozen days keep a compromised key in use
        if policy.frozen_at(now):
            return False
        if plan.began is not None:
            return True
        sharing = [
            each.name
            for each in self._policies
            if each.name == policy.name or (each.issuer_id and each.issuer_id == policy.issuer_id)
        ]
        count = await asyncio.to_thread(self._world.book.begun_since, sharing, now - HOUR, now)
        count += sum(1 for id, each in self._tasks.items() if each.plan.policy in sharing and id not in begun)
        return count < policy.keys.most_per_hour

    def _in_the_way(self, plan: Plan) -> bool:
        """Another one has the same place in its hands, or the same service."""
        places = {each.target for each in plan.steps if each.kind == "deploy"}
        services = set(filter(None, plan.service.split("\n")))
        return any(
            services & set(each.plan.service.split("\n"))
            or places & {step.target for step in each.plan.steps if step.kind == "deploy"}
            for each in self._tasks.values()
        )

    async def _carry(self, id: int) -> None:
        async with self._slots:
            try:
                await carry_out(self._world, id)
                return
            # Not at once again: whatever it is, a person must see to it.
            except (RemediationError, InventoryError) as error:
                log.error("remediation_stuck", plan=id, error=error.message)
            except Exception as error:
                log.error("remediation_broke", plan=id, frames=frames_of(error))
        await asyncio.sleep(STUCK_SECONDS)


def planned(drafts: Sequence[Draft | Unplannable]) -> tuple[list[Draft], list[Unplannable]]:
    return (
        [each for each in drafts if isinstance(each, Draft)],
        [each for each in drafts if isinstance(each, Unplannable)],
    )
