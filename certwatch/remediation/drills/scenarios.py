"""The scenarios. Each breaks something in staging, waits for what should happen, and puts back what did not mend itself."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from certwatch.inventory.store import FindingQuery, Query
from certwatch.model.certificate import Certificate, Fingerprint
from certwatch.model.finding import FindingID
from certwatch.pki.signatures import signature
from certwatch.plugins.deployer import Deployer, DeployFailed, Material, Target
from certwatch.plugins.issuer import AskCA, CertificateRequest, IssueFailed
from certwatch.remediation.affected import affected_one
from certwatch.remediation.compromise import all_have, open_incident, scope_of
from certwatch.remediation.drills.exercise import DrillFailed, Exercise
from certwatch.remediation.drills.staged import Staged, check_label, staged
from certwatch.remediation.failure import RemediationError
from certwatch.remediation.material import csr_for, general_names, key_pem_of, material_of, new_key, split_pem
from certwatch.remediation.records import Plan
from certwatch.remediation.stopped import StepFailed
from certwatch.remediation.verify import until_shown, with_stores
from certwatch.x509.der import read

Places = Mapping[str, tuple[Deployer, Target]]
#: What says that places of one service differ.
DIFFERING = ("addresses-differ", "renewed-not-served")
OCSP_RULES = ("ocsp-failing", "ocsp-wrong")
#: Of an outage that nobody ends.
LONGEST_OUTAGE = timedelta(hours=6)


async def expired_certificate(exercise: Exercise, about: Certificate | None) -> None:
    """An expired certificate is served: a page opens, a roll-out follows, and is seen. Raises DrillFailed, RemediationError."""
    it = await _chosen(exercise, about, rule="expiry")
    material = _expired(it, exercise)
    fingerprint = material.certificate.fingerprint_sha256
    async with _broken(exercise, it, it.places) as broken:
        # Not looked at: the daemon may be quicker.
        await _put(exercise, it, it.places, material, look=False)
        exercise.done(f"an expired certificate was put at {len(it.places)} places of {it.affected.title}")
        await exercise.expect(
            "a finding that it is expired", lambda: bool(_findings(exercise, "expiry", fingerprint))
        )
        await exercise.expect("a plan to replace it", lambda: bool(_plans(exercise, fingerprint)))

        def replaced() -> bool:
            plans = _plans(exercise, fingerprint)
            for each in plans:
                if each.state == "waiting":
                    exercise.noted(
                        f"plan {each.id} waits for people: certwatch remediate approve {each.id} --why TEXT"
                    )
                if each.state in ("failed", "rolled-back", "withdrawn"):
                    exercise.noted(f"plan {each.id} ended {each.state}: {each.why}")
            return any(each.state == "verified" for each in plans)

        await exercise.expect("a new certificate, seen at every place", replaced)
        broken.clear()
        await exercise.expect(
            "the finding to be resolved", lambda: not _findings(exercise, "expiry", fingerprint)
        )


async def half_deployed(exercise: Exercise, about: Certificate | None) -> None:
    """A renewal stops half way: that places differ is found; after it is undone, the finding goes. Raises DrillFailed,
    RemediationError."""
    it = await _chosen(exercise, about, places=2)
    half = dict(list(it.places.items())[: len(it.places) // 2])
    known = await asyncio.to_thread(_numbers, exercise, DIFFERING)
    key = await asyncio.to_thread(new_key, it.policy.keys.key_type)
    request = CertificateRequest(
        csr_pem=csr_for(key, it.draft.names),
        names=it.draft.names,
        replaces=None,
        idempotency_key=f"certwatch-drill-{int(exercise.world.clock().timestamp())}",
    )
    try:
        chain = await it.policy.issuer.issue(request)
        material = material_of(key.public_key(), chain, it.draft.names, key_pem=key_pem_of(key))
    except (IssueFailed, StepFailed) as error:
        raise RemediationError(
            "other", f"the issuer gave no certificate to exercise with: {error}"
        ) from error
    await asyncio.to_thread(exercise.world.expect, material.certificate, "issued for an exercise")
    async with _broken(exercise, it, half):
        await _put(exercise, it, half, material)
        exercise.done(
            f"a renewal of {it.affected.title} stopped after {len(half)} of {len(it.places)} places"
        )
        await exercise.expect(
            "a finding that places differ", lambda: bool(_numbers(exercise, DIFFERING) - known)
        )
        opened = await asyncio.to_thread(_numbers, exercise, DIFFERING) - known
    await exercise.expect("the finding to be resolved", lambda: not (_numbers(exercise, DIFFERING) & opened))
    try:
        await it.policy.issuer.revoke(material.certificate, "superseded")
        exercise.done("what was issued for the exercise is revoked")
    except IssueFailed as error:
        exercise.noted(f"what was issued for the exercise is not revoked: {error.message}")


async def ocsp_outage(exercise: Exercise, about: Certificate | None, ask_ca: AskCA | None) -> None:
    """The embedded CA's responder gives no answers for an issuer of staging: it is found, and servers go on. Raises
    DrillFailed, RemediationError."""
    check_label(exercise.label)
    if ask_ca is None:
        raise RemediationError("usage", "there is no embedded CA: whose responder should be out?")
    if about is None or not about.is_ca:
        raise RemediationError(
            "usage", "name the issuer whose responder is to be out: the fingerprint of an intermediate"
        )
    served = await asyncio.to_thread(_below, exercise, about)
    exercise.about = about.shown
    known = await asyncio.to_thread(_numbers, exercise, OCSP_RULES)
    seconds = min(exercise.within, LONGEST_OUTAGE).total_seconds()

    async def pause(seconds: float) -> None:
        values: dict[str, object] = {"fingerprint": about.fingerprint_sha256.hex(), "seconds": seconds}
        await asyncio.to_thread(ask_ca, "pause-ocsp", values)

    await pause(seconds)
    exercise.done(f"the responder answers nothing for {about.shown}")
    try:
        await exercise.expect(
            "a finding that it does not answer", lambda: bool(_numbers(exercise, OCSP_RULES) - known)
        )
        opened = await asyncio.to_thread(_numbers, exercise, OCSP_RULES) - known
        seen = await exercise.world.look(served)
        missing = [uri for uri in served if uri not in seen or not seen[uri].chain]
        if missing:
            exercise.missed(f"clients are served all the while: not at {', '.join(missing[:3])}")
            raise DrillFailed("clients were not served while the responder was out")
        exercise.done(f"clients are served all the while, at {len(served)} places")
    finally:
        await pause(0)
        exercise.done("the responder answers again")
    await exercise.expect("the finding to be resolved", lambda: not (_numbers(exercise, OCSP_RULES) & opened))


async def ca_compromised(exercise: Exercise, about: Certificate | None, *, by: str, why: str) -> None:
    """All that a CA has issued in staging is replaced (M10). Raises DrillFailed, RemediationError."""
    check_label(exercise.label)
    if about is None:
        raise RemediationError("usage", "name the CA that is to count as compromised: its fingerprint")
    world = exercise.world
    exercise.about = about.shown

    def begin() -> tuple[int, int, list[str]]:
        now = world.clock()
        with world.reading() as reader:
            scope = scope_of(reader, about, now, label=exercise.label)
        if not scope.affected:
            raise RemediationError(
                "refused", f"{about.shown}: nothing in {'='.join(exercise.label)} is below it"
            )
        incident, plans, left = open_incident(
            world.book, scope, tuple(world.policies.values()), now, by=by, why=why, drill=True
        )
        return incident, len(plans), [f"{each.title}: {each.why}" for each in left]

    incident, plans, left = await asyncio.to_thread(begin)
    exercise.done(f"incident {incident}: {about.shown} counts as compromised, {plans} plans")
    for each in left:
        exercise.missed(each)

    def over() -> bool:
        states = world.book.incident_states().get(incident, {})
        if states.get("waiting"):
            exercise.noted("plans wait for people: certwatch remediate status")
        return any(each.id == incident and each.ended is not None for each in world.book.incidents())

    await exercise.expect("another certificate at every place", over)


async def _chosen(exercise: Exercise, about: Certificate | None, **more: Any) -> Staged:
    world = exercise.world

    def choose() -> Staged:
        with world.reading() as reader:
            return staged(
                reader,
                world.book,
                tuple(world.policies.values()),
                exercise.label,
                world.clock(),
                about=about,
                **more,
            )

    it = await asyncio.to_thread(choose)
    exercise.about = it.affected.title
    return it


def _expired(it: Staged, exercise: Exercise) -> Material:
    """For the same names, made here, over since a minute."""
    key = new_key("ec-p256")
    now = exercise.world.clock()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "certwatch exercise: expired")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(minutes=1))
        .add_extension(x509.SubjectAlternativeName(general_names(it.draft.names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Material(key_pem=key_pem, chain_pem=pem, certificate=read(split_pem(pem)[0]))


async def _put(
    exercise: Exercise, it: Staged, places: Places, material: Material, *, look: bool = True
) -> None:
    """Raises RemediationError: it cannot be broken as it should be."""
    try:
        await asyncio.gather(*(deployer.deploy(target, material) for deployer, target in places.values()))
        for deployer, target in places.values():
            await deployer.activate([target])
        if look:
            seen = with_stores(exercise.world.look, exercise.world.clock, places)
            chain = split_pem(material.chain_pem)
            await until_shown(seen, tuple(places), chain, it.policy.keys.verify.within)
    except (DeployFailed, StepFailed) as error:
        raise RemediationError("other", f"the exercise could not begin: {error}") from error


@asynccontextmanager
async def _broken(exercise: Exercise, it: Staged, places: Places) -> AsyncIterator[dict[str, Any]]:
    """What is still in it at the end is put back, however it ends."""
    left = dict(places)
    try:
        yield left
    finally:
        if left:
            # Also when somebody has interrupted it.
            await asyncio.shield(asyncio.create_task(_put_back(exercise, it, left)))


async def _put_back(exercise: Exercise, it: Staged, places: Places) -> None:
    wrong = []
    for uri, (deployer, target) in places.items():
        try:
            await deployer.undo(target)
            await deployer.activate([target])
            await deployer.forget(target)
        except DeployFailed as error:
            wrong.append(f"{uri}: {error.message}")
    try:
        look = with_stores(exercise.world.look, exercise.world.clock, places)
        await until_shown(
            look, (*it.served, *places), [it.affected.certificate.der], it.policy.keys.verify.within
        )
    except StepFailed as failed:
        wrong.append(failed.why)
    if wrong:
        exercise.missed(f"what was there before was not put back: {'; '.join(wrong)}")
    else:
        exercise.done("what was there before was put back, and is served")


def _findings(exercise: Exercise, rule: str, fingerprint: Fingerprint) -> list[FindingID]:
    with exercise.world.reading() as reader:
        return [each.id for each in reader.findings(FindingQuery(rule=rule, fingerprint=fingerprint))]


def _numbers(exercise: Exercise, rules: Sequence[str]) -> set[FindingID]:
    with exercise.world.reading() as reader:
        return {each.id for rule in rules for each in reader.findings(FindingQuery(rule=rule))}


def _plans(exercise: Exercise, former: Fingerprint) -> list[Plan]:
    return exercise.world.book.plans("former = ?", former)


def _below(exercise: Exercise, ca: Certificate) -> list[str]:
    """Where clients see what it issued. Raises RemediationError: not all of that is in staging."""
    world = exercise.world
    served: list[str] = []
    now = world.clock()
    with world.reading() as reader:
        for entry in reader.list(Query(), now):
            leaf = entry.certificate
            if leaf.is_ca or leaf.issuer_der != ca.subject_der or signature(leaf, ca) != "good":
                continue
            affected = affected_one(reader, leaf.fingerprint_sha256, now)
            if affected is None:
                continue
            if not all_have(affected, exercise.label):
                raise RemediationError(
                    "refused",
                    f"{ca.shown} has issued {affected.title} too, which is not in {'='.join(exercise.label)} everywhere",
                )
            served += [each.location.uri for each in affected.served]
    if not served:
        raise RemediationError(
            "refused", f"{ca.shown}: clients see nothing that it issued in {'='.join(exercise.label)}"
        )
    return served
