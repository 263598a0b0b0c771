"""Having a certificate issued: for a key that was made where it will live, or here; and what came back held against the wish."""

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from cryptography import x509

from certwatch.model.certificate import Certificate
from certwatch.pki.signatures import signature
from certwatch.plugins.deployer import DeployFailed, MakesKeys, Material, Target
from certwatch.plugins.issuer import CertificateRequest, IssueFailed
from certwatch.remediation.material import (
    checked_csr,
    csr_for,
    key_pem_of,
    material_of,
    new_key,
    split_pem,
)
from certwatch.remediation.plan import DEAD
from certwatch.remediation.policy import Policy
from certwatch.remediation.records import Plan
from certwatch.remediation.stopped import StepFailed
from certwatch.remediation.world import World
from certwatch.x509.der import read

#: After an issuer that could not.
FIRST_WAIT = timedelta(minutes=1)
#: Than tries: a crash loses a key, and an endless row of crashes must not become an endless row of orders.
MORE_ORDERS = 2


async def issue(
    world: World, plan: Plan, policy: Policy, former: Certificate, targets: Mapping[str, Target]
) -> str:
    """The fingerprint. The key is made where it will live, if there is one such place that can; else here, in memory. Raises
    StepFailed."""
    csr, key = await _request(plan, policy, targets)
    if key is None and (material := _issued_already(plan, csr)) is not None:
        # A crash came after it was issued, and its key is where it was made: no second one is asked for.
        world.material[plan.id] = material
        return material.certificate.fingerprint_sha256.hex()
    most = policy.keys.most_tries + MORE_ORDERS
    if await asyncio.to_thread(world.book.count_order, plan.id) > most:
        raise StepFailed(
            f"{most} certificates were asked for already, and each time the process ended before it was put in place"
        )
    request = CertificateRequest(
        csr_pem=csr,
        names=plan.names,
        replaces=former,
        idempotency_key=f"certwatch-{plan.id}-{plan.tries}",
    )
    try:
        chain = await policy.issuer.issue(request)
    except IssueFailed as error:
        if error.kind == "limit":
            pause = error.retry_after or FIRST_WAIT.total_seconds()
            world.paused[policy.issuer_id or policy.name] = time.monotonic() + pause
        raise StepFailed(
            f"issuer: {error.message}", again=error.again, retry_after=error.retry_after
        ) from error
    material = material_of(
        x509.load_pem_x509_csr(csr).public_key(), chain, plan.names, key_pem=key_pem_of(key)
    )
    reason = f"issued for plan {plan.id} of the policy {plan.policy}"
    await asyncio.to_thread(world.expect, material.certificate, reason)
    not_after = material.certificate.not_after
    if not_after is None or (former.not_after is not None and not_after <= max(former.not_after, world.clock())
                             and not (DEAD & set(plan.cause)) and not plan.drill and plan.incident is None):  # fmt: skip
        raise StepFailed("the issuer gave a certificate that ends no later than the former one")
    lost = bool(DEAD & set(plan.cause))
    if lost and material.certificate.spki_sha256 == former.spki_sha256:
        raise StepFailed("the new certificate has the former one's key, which must not be used any more")
    if not plan.drill and (why := await asyncio.to_thread(_under_a_lost_ca, world, chain)):
        raise StepFailed(why)
    world.material[plan.id] = material
    await asyncio.to_thread(world.book.set_chain, plan.id, chain)
    return material.certificate.fingerprint_sha256.hex()


def _under_a_lost_ca(world: World, chain_pem: bytes) -> str | None:
    """A CA that is marked as compromised is in it, or above it."""
    with world.reading() as reader:
        marked = [
            each.certificate
            for each in reader.marks()
            if each.kind == "compromised" and each.ended_at is None and each.certificate.is_ca
        ]
    chain = [read(each) for each in split_pem(chain_pem)]
    for ca in marked:
        for each in chain:
            if each.spki_sha256 == ca.spki_sha256 or (
                each.issuer_der == ca.subject_der and signature(each, ca) == "good"
            ):
                return (
                    f"the issuer's certificate is under {ca.shown}, which is compromised. Have another CA issue"
                    " (of the embedded one: certwatch ca rotate)"
                )
    return None


async def _request(plan: Plan, policy: Policy, targets: Mapping[str, Target]) -> tuple[bytes, Any]:
    """The CSR, and the key: None where it was made at its place. Raises StepFailed."""
    steps = [each for each in plan.steps if each.kind == "deploy"]
    # With several, the key would have to travel all the same.
    if len(steps) == 1 and steps[0].deployer is not None and steps[0].deployer < len(policy.deployers):
        deployer = policy.deployers[steps[0].deployer]
        target = targets.get(steps[0].target)
        if target is not None and isinstance(deployer, MakesKeys) and deployer.makes_keys:
            try:
                csr = await deployer.csr(target, plan.names, policy.keys.key_type)
            except DeployFailed as error:
                raise StepFailed(f"{target.uri}: {error.message}", again=True) from error
            return checked_csr(csr, plan.names, policy.keys.key_type), None
    key = await asyncio.to_thread(new_key, policy.keys.key_type)
    return csr_for(key, plan.names), key


def _issued_already(plan: Plan, csr: bytes) -> Material | None:
    if plan.chain is None:
        return None
    try:
        return material_of(x509.load_pem_x509_csr(csr).public_key(), plan.chain, plan.names, key_pem=b"")
    except StepFailed:
        return None  # of another key
