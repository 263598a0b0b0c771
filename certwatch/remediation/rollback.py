"""The former certificate is put back, wherever the new one was put."""

import asyncio

from certwatch.plugins.deployer import DeployFailed
from certwatch.remediation.book import Plan
from certwatch.remediation.plan import DEAD
from certwatch.remediation.policy import Policy
from certwatch.remediation.stopped import StepFailed
from certwatch.remediation.targets import former_of, targets_of
from certwatch.remediation.world import World
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import REMEDIATION_PLANS

log = get_logger(__name__)


async def roll_back(world: World, plan: Plan, policy: Policy, why: str) -> None:
    """Ends as rolled-back, or as failed where a place could not be brought back; both page. May be begun again."""
    plan = await asyncio.to_thread(world.book.plan, plan.id)
    left: list[str] = []
    try:
        former = await asyncio.to_thread(former_of, world, plan)
        targets = await asyncio.to_thread(targets_of, world, plan, former)
    except StepFailed as failed:
        await _end(world, plan, "failed", f"{why}. Not rolled back: {failed.why}")
        return
    # What clients refuse already is no better than what was put there: then the new one stays.
    dead = bool(DEAD & set(plan.cause)) or (
        former.not_after is not None and former.not_after <= world.clock()
    )
    for step in reversed(plan.steps):
        if step.kind != "deploy" or step.state in ("todo", "undone"):
            continue
        target = targets.get(step.target)
        if target is None or step.deployer is None or step.deployer >= len(policy.deployers):
            left.append(f"{step.target}: cannot be reached as it was planned")
            continue
        deployer = policy.deployers[step.deployer]
        try:
            if dead:
                await deployer.forget(target)
            else:
                await deployer.undo(target)
                await world.step("undone")
                await deployer.activate([target])
                await deployer.forget(target)
        except DeployFailed as error:
            left.append(f"{step.target}: {error.message}")
            continue
        if not dead:
            await asyncio.to_thread(
                world.book.step, plan.id, step.place, "undone", world.clock(), "the former one was put back"
            )
    if left:
        await _end(world, plan, "failed", f"{why}. Not rolled back: {'; '.join(left)}")
    elif dead:
        await _end(
            world,
            plan,
            "failed",
            f"{why}. The former one is of no use any more: what was put in its place stays",
        )
    else:
        await _end(world, plan, "rolled-back", why)


async def _end(world: World, plan: Plan, state: str, why: str) -> None:
    await asyncio.to_thread(
        lambda: world.book.turn(
            plan.id,
            state,  # type: ignore[arg-type]
            world.clock(),
            if_in=("running", "verifying", "rolling-back"),
            why=why,
        )
    )
    world.material.pop(plan.id, None)
    REMEDIATION_PLANS.labels(plan.policy, state).inc()
    await asyncio.to_thread(
        world.note, f"remediation-{state}", {"plan": plan.id, "title": plan.title, "why": why}
    )
    log.error("remediation_rolled_back", plan=plan.id, title=plan.title, state=state, why=why)
