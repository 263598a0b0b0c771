"""A roll-out, step by step. What a step is about to do is in the book before it does it; each may be taken again, so that a
crash anywhere ends in a verified or a rolled-back state."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

from certwatch.inventory.store import InventoryError
from certwatch.model.certificate import Certificate
from certwatch.model.observation import Observation
from certwatch.plugins.deployer import Deployer, DeployFailed, Renews, Target
from certwatch.plugins.issuer import IssueFailed
from certwatch.remediation.affected import affected_one
from certwatch.remediation.commands import CommandFailed, run_command
from certwatch.remediation.failure import RemediationError
from certwatch.remediation.issue import FIRST_WAIT, issue
from certwatch.remediation.material import joined_pem, split_pem
from certwatch.remediation.plan import KEY_LOST
from certwatch.remediation.policy import Policy
from certwatch.remediation.records import Plan, PlanState, Step
from certwatch.remediation.rollback import roll_back
from certwatch.remediation.stopped import StepFailed, TurnedAway, frames_of
from certwatch.remediation.targets import former_of, targets_of
from certwatch.remediation.verify import until_shown, with_stores
from certwatch.remediation.world import Look, World
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import REMEDIATION_LAG_SECONDS, REMEDIATION_PLANS, REMEDIATION_STEP_SECONDS
from certwatch.x509.der import read

log = get_logger(__name__)

#: After an issuer that could not: doubled with each try.
LONGEST_WAIT = timedelta(hours=6)
HEALTH_SECONDS = 60.0
#: At the canary: of the time that all have.
CANARY_SHARE = 0.5
#: From these, one goes forward; a person may turn it to "rolling-back" at any instant.
FORWARD: tuple[PlanState, ...] = ("approved", "running", "verifying")


async def carry_out(world: World, id: int) -> Plan:
    """From wherever it stands to its end, or to where it must wait. Never called twice at once for one plan. Raises
    RemediationError: the book cannot be written."""
    plan = await asyncio.to_thread(world.book.plan, id)
    policy = world.policies.get(plan.policy)
    if policy is None:
        raise RemediationError(
            "usage",
            f"plan {id}: its policy {plan.policy} is not in the config any more. Put it back, or withdraw the plan",
        )
    if plan.state in FORWARD:
        await _forward(world, plan, policy)
        plan = await asyncio.to_thread(world.book.plan, id)
    # Also where a person said so meanwhile.
    if plan.state == "rolling-back":
        await world.step("rolling-back")
        await roll_back(world, plan, policy, plan.why)
    return await asyncio.to_thread(world.book.plan, id)


async def _forward(world: World, plan: Plan, policy: Policy) -> None:
    try:
        await _turn(world, plan, "running")
        former = await asyncio.to_thread(former_of, world, plan)
        await _still_wanted(world, plan)
        await _all_steps(world, plan, policy, former)
        await _not_turned_away(world, plan)
    except StepFailed as failed:
        await _stopped(world, plan, policy, failed)
        return
    except TurnedAway:
        return
    await _finish(world, plan, policy, former)


async def _turn(world: World, plan: Plan, state: PlanState, why: str = "") -> None:
    """Raises TurnedAway: it is in no state from which one goes forward."""
    if not await asyncio.to_thread(
        lambda: world.book.turn(plan.id, state, world.clock(), if_in=FORWARD, why=why)
    ):
        raise TurnedAway


async def _not_turned_away(world: World, plan: Plan) -> None:
    """Raises TurnedAway: a person has said meanwhile that it is to be put back."""
    if (await asyncio.to_thread(world.book.plan, plan.id)).state not in FORWARD:
        raise TurnedAway


async def _still_wanted(world: World, plan: Plan) -> None:
    """Somebody else may have renewed it since. Of one that has begun, that was us."""
    if plan.began is not None or plan.drill:
        return

    def look() -> bool:
        with world.reading() as reader:
            return affected_one(reader, plan.former, world.clock()) is not None

    if not await asyncio.to_thread(look):
        raise StepFailed("it is nowhere any more: somebody else has renewed it")


async def _all_steps(world: World, plan: Plan, policy: Policy, former: Certificate) -> None:
    targets = await asyncio.to_thread(targets_of, world, plan, former)
    lost = (
        plan.id not in world.material
        and any(each.kind == "issue" for each in plan.steps)
        and any(each.kind in ("issue", "deploy") and each.state != "done" for each in plan.steps)
    )
    for step in plan.steps:
        # The key was in memory alone: after a crash before the last deployment all of it begins anew, with another one.
        if step.state == "done" and not (lost and step.kind in ("issue", "deploy")):
            continue
        await _take(world, plan, policy, former, step, targets)


async def _take(
    world: World, plan: Plan, policy: Policy, former: Certificate, step: Step, targets: dict[str, Target]
) -> None:
    began = world.clock()
    await _not_turned_away(world, plan)
    await asyncio.to_thread(world.book.step, plan.id, step.place, "doing", began)
    await world.step(f"{step.kind}-begun")
    try:
        if step.kind == "issue":
            said = await issue(world, plan, policy, former, targets)
        elif step.kind == "deploy":
            if step.target not in targets:
                raise StepFailed(f"{step.target}: is not in the inventory any more")
            said = await _deploy(world, plan, policy, step, targets[step.target])
        elif step.kind == "verify":
            said = await _verify(world, plan, policy, step, targets)
        else:
            said = await _revoke(plan, policy, former)
    except StepFailed as failed:
        await asyncio.to_thread(world.book.step, plan.id, step.place, "failed", world.clock(), failed.why)
        raise
    except (RemediationError, InventoryError, TurnedAway):
        raise
    except Exception as error:
        # Of a plug-in, or ours: what was begun must come to an end all the same.
        log.error(
            "remediation_step_broke",
            plan=plan.id,
            step=step.kind,
            target=step.target,
            frames=frames_of(error),
        )
        why = f"{step.target or step.kind}: {type(error).__name__}: {error}"[:500]
        await asyncio.to_thread(world.book.step, plan.id, step.place, "failed", world.clock(), why)
        raise StepFailed(why) from error
    await world.step(f"{step.kind}-done")
    ended = world.clock()
    await asyncio.to_thread(world.book.step, plan.id, step.place, "done", ended, said)
    REMEDIATION_STEP_SECONDS.labels(step.kind).observe((ended - began).total_seconds())


async def _deploy(world: World, plan: Plan, policy: Policy, step: Step, target: Target) -> str:
    deployer = _deployer(policy, step)
    try:
        if isinstance(deployer, Renews):
            return await _renewed(world, plan, policy, deployer, target)
        await deployer.deploy(target, world.material[plan.id])
        await world.step("put")
        await deployer.activate([target])
    except DeployFailed as error:
        raise StepFailed(f"{target.uri}: {error.message}") from error
    return ""


async def _renewed(world: World, plan: Plan, policy: Policy, deployer: Renews, target: Target) -> str:
    """Whoever keeps the place has it issued and puts it there: what that is becomes what all must serve."""
    chain = await deployer.renew(target, policy.keys.verify.within)
    made = read(chain[0])
    names = {str(each) for each in made.names}
    if set(plan.names) - names:
        raise StepFailed(f"{target.uri}: was renewed without {', '.join(sorted(set(plan.names) - names))}")
    await asyncio.to_thread(world.book.set_chain, plan.id, joined_pem(chain))
    await asyncio.to_thread(world.expect, made, f"issued for plan {plan.id} of the policy {plan.policy}")
    return made.fingerprint_sha256.hex()


def _placed(plan: Plan, policy: Policy, targets: Mapping[str, Target]) -> dict[str, tuple[Deployer, Target]]:
    return {
        each.target: (_deployer(policy, each), targets[each.target])
        for each in plan.steps
        if each.kind == "deploy" and each.target in targets
    }


def _deployer(policy: Policy, step: Step) -> Deployer:
    if step.deployer is None or step.deployer >= len(policy.deployers):
        raise StepFailed(
            f"{step.target}: the policy has other deployers than when it was planned. Plan it anew"
        )
    return policy.deployers[step.deployer]


async def _verify(world: World, plan: Plan, policy: Policy, step: Step, targets: dict[str, Target]) -> str:
    issued = (await asyncio.to_thread(world.book.plan, plan.id)).chain
    if issued is None:
        raise StepFailed("there is no new certificate to look for")
    chain = split_pem(issued)
    began = world.clock()
    within = policy.keys.verify.within
    look = _unless_turned_away(
        world, plan, with_stores(world.look, world.clock, _placed(plan, policy, targets))
    )
    if step.target:
        # The canary: some place that clients see must have it before the others are touched.
        if plan.served:
            await until_shown(look, plan.served, chain, within * CANARY_SHARE, enough=1)
        await until_shown(look, [step.target], chain, within * CANARY_SHARE)
    else:
        await _turn(world, plan, "verifying")
        await until_shown(look, (*plan.served, *targets), chain, within, first_seen=_lagged)
        if policy.keys.verify.health:
            try:
                await run_command(policy.keys.verify.health, HEALTH_SECONDS)
            except CommandFailed as error:
                raise StepFailed(f"health check: {error}") from error
    return f"seen after {(world.clock() - began).total_seconds():.1f} s"


def _lagged(uri: str, seconds: float) -> None:
    REMEDIATION_LAG_SECONDS.labels(uri.partition(":")[0]).observe(seconds)


def _unless_turned_away(world: World, plan: Plan, look: Look) -> Look:
    async def looked(uris: Sequence[str]) -> Mapping[str, Observation]:
        await _not_turned_away(world, plan)
        return await look(uris)

    return looked


async def _revoke(plan: Plan, policy: Policy, former: Certificate) -> str:
    # Only when the new one was seen everywhere.
    reason = "key-compromise" if KEY_LOST & set(plan.cause) or plan.incident is not None else "superseded"
    if plan.drill:
        return "not in a drill"
    try:
        await policy.issuer.revoke(former, reason)
    except IssueFailed as error:
        # The service is well: that the former one is not revoked is told, and rolls nothing back.
        log.error("remediation_not_revoked", plan=plan.id, title=plan.title, error=error.message)
        return f"not revoked: {error.message}"
    return reason


async def _finish(world: World, plan: Plan, policy: Policy, former: Certificate) -> None:
    targets = await asyncio.to_thread(targets_of, world, plan, former)
    for step in plan.steps:
        if step.kind == "deploy" and step.target in targets:
            try:
                await _deployer(policy, step).forget(targets[step.target])
            except (DeployFailed, StepFailed) as error:
                log.warning("remediation_former_kept", target=step.target, error=str(error))
    # Who wants it back from here on comes too late: what was kept for that is gone.
    await asyncio.to_thread(
        lambda: world.book.turn(plan.id, "verified", world.clock(), if_in=(*FORWARD, "rolling-back"))
    )
    world.material.pop(plan.id, None)
    await asyncio.to_thread(_look_again, world, plan)
    REMEDIATION_PLANS.labels(plan.policy, "verified").inc()
    await asyncio.to_thread(
        world.note,
        "remediation-verified",
        {"plan": plan.id, "title": plan.title, "policy": plan.policy, "former": plan.former.hex()},
    )
    log.info("remediation_verified", plan=plan.id, title=plan.title, policy=plan.policy)


def _look_again(world: World, plan: Plan) -> None:
    names: set[str] = set()
    with world.reading() as reader:
        for uri in (*plan.served, *(each.target for each in plan.steps if each.target)):
            known = reader.served(uri)  # type: ignore[arg-type]
            if known is not None:
                names |= set(known.collectors)
    world.look_again(sorted(names))


async def _stopped(world: World, plan: Plan, policy: Policy, failed: StepFailed) -> None:
    now = await asyncio.to_thread(world.book.plan, plan.id)
    touched = any(each.kind == "deploy" and each.state in ("doing", "done", "failed") for each in now.steps)
    if touched:
        with suppress(TurnedAway):
            await _turn(world, plan, "rolling-back", failed.why)
        return
    world.material.pop(plan.id, None)
    if failed.again and now.tries < policy.keys.most_tries:
        wait = min(FIRST_WAIT * 2 ** max(0, now.tries - 1), LONGEST_WAIT)
        if failed.retry_after is not None:
            wait = max(wait, timedelta(seconds=failed.retry_after))
        later = world.clock() + wait
        await asyncio.to_thread(
            lambda: world.book.turn(
                plan.id, "approved", world.clock(), if_in=("running",), why=failed.why, later=later
            )
        )
        log.warning("remediation_again", plan=plan.id, title=plan.title, why=failed.why, later=str(later))
        return
    with suppress(TurnedAway):
        await _turn(world, plan, "failed", failed.why)
    REMEDIATION_PLANS.labels(plan.policy, "failed").inc()
    await asyncio.to_thread(
        world.note, "remediation-failed", {"plan": plan.id, "title": plan.title, "why": failed.why}
    )
    log.error("remediation_failed", plan=plan.id, title=plan.title, why=failed.why)


def new_leaf(plan: Plan) -> bytes | None:
    chain: Sequence[bytes] = split_pem(plan.chain) if plan.chain else ()
    return chain[0] if chain else None
