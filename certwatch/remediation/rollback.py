"""The former certificate is put back, wherever the new one was put."""

import asyncio
from collections.abc import Mapping
from datetime import datetime

from certwatch.model.certificate import Certificate
from certwatch.plugins.deployer import Deployer, DeployFailed, Target
from certwatch.remediation.material import split_pem
from certwatch.remediation.plan import DEAD
from certwatch.remediation.policy import Policy
from certwatch.remediation.records import Plan
from certwatch.remediation.stopped import StepFailed, frames_of
from certwatch.remediation.targets import former_of, targets_of
from certwatch.remediation.verify import until_shown, with_stores
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
    dead = _is_dead(plan, former, world.clock())
    placed: dict[str, tuple[Deployer, Target]] = {}
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
                if step.state in ("doing", "done") or await _was_put(plan, deployer, target):
                    placed[step.target] = (deployer, target)
                await deployer.undo(target)
                await world.step("undone")
                await deployer.activate([target])
                await deployer.forget(target)
        except DeployFailed as error:
            left.append(f"{step.target}: {error.message}")
            continue
        except Exception as error:
            # Of a plug-in, or ours: the other places must be brought back all the same.
            log.error("remediation_rollback_broke", plan=plan.id, target=step.target, frames=frames_of(error))
            left.append(f"{step.target}: {type(error).__name__}: {error}"[:300])
            continue
        if not dead:
            await asyncio.to_thread(
                world.book.step, plan.id, step.place, "undone", world.clock(), "the former one was put back"
            )
    if placed and not left:
        try:
            await _seen_again(world, plan, policy, former, placed)
        except StepFailed as failed:
            left.append(f"the former one was put back, and is not seen {failed.why}")
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


def _is_dead(plan: Plan, former: Certificate, now: datetime) -> bool:
    """What clients refuse already is no better than what was put in its place: then the new one stays."""
    if any(each.kind == "revoke" and each.state != "todo" for each in plan.steps) and not plan.drill:
        return True
    # In an exercise nothing was compromised.
    lost = bool(DEAD & set(plan.cause)) and not plan.drill
    return lost or (former.not_after is not None and former.not_after <= now)


async def _was_put(plan: Plan, deployer: Deployer, target: Target) -> bool:
    """Its step failed, and the new certificate lies there all the same."""
    if plan.chain is None:
        return False
    try:
        present = await deployer.present(target)
    except DeployFailed:
        return False
    return bool(present) and present[0] == split_pem(plan.chain)[0]


async def _seen_again(
    world: World,
    plan: Plan,
    policy: Policy,
    former: Certificate,
    placed: Mapping[str, tuple[Deployer, Target]],
) -> None:
    """What was put back is not yet what is served. Raises StepFailed naming the places where it is not."""
    look = with_stores(world.look, world.clock, placed)
    await until_shown(look, (*plan.served, *placed), [former.der], policy.keys.verify.within)


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
