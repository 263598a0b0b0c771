"""From an affected certificate and a policy to steps. Values only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from certwatch.model.certificate import Fingerprint
from certwatch.plugins.deployer import Deployer, Renews, Target
from certwatch.remediation.affected import Affected
from certwatch.remediation.policy import Policy

StepKind = Literal["issue", "deploy", "verify", "revoke"]

#: Rules that say that the key itself must not be used any more: the former certificate is revoked, and never put back.
KEY_LOST = frozenset({"compromised", "key-broken"})
#: What is refused by clients already is no better than nothing.
DEAD = KEY_LOST | {"revoked"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftStep:
    kind: StepKind
    #: URI. Empty: none.
    target: str = ""
    #: Which of the policy's.
    deployer: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A plan that nobody has written down yet."""

    policy: str
    cause: tuple[str, ...]
    former: Fingerprint
    title: str
    names: tuple[str, ...]
    needed: int
    steps: tuple[DraftStep, ...]
    #: URIs that must serve the new certificate in the end.
    served: tuple[str, ...] = ()
    why: str = ""
    drill: bool = False
    #: End of the former certificate. None: unreadable.
    not_after: datetime | None = None
    #: Of those that have one in common (one a line), one is carried out at a time.
    service: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplannable:
    """Something must be done, and cannot be by itself."""

    former: Fingerprint
    title: str
    cause: tuple[str, ...]
    why: str


def draft(
    affected: Affected, policy: Policy, *, drill: bool = False, lost: bool = False
) -> Draft | Unplannable:
    """`lost`: its key, or its CA's, is somebody else's too, whatever findings say. Issue; put it at the first place (the canary), look; then everywhere else, look; then revoke, where that is wanted."""
    targets, left_out = placed(affected, policy.deployers)
    certificate = affected.certificate
    causes = tuple(sorted({*affected.causes, "compromised"})) if lost else affected.causes
    had = tuple(str(each) for each in certificate.names)
    names = tuple(policy.keys.names) or had

    def cannot(why: str) -> Unplannable:
        return Unplannable(former=certificate.fingerprint_sha256, title=affected.title, cause=causes, why=why)

    if left_out:
        return cannot(
            f"policy {policy.name} has no deployer for {left_out[0]}"
            + (f" and {len(left_out) - 1} more" if len(left_out) > 1 else "")
        )
    if not targets:
        where = ", ".join(each.location.uri for each in affected.served[:3])
        return cannot(
            f"it is served at {where}, and no place is known where it lies. Let a collector look where the server reads it"
        )
    renewing = [uri for uri, number in targets if isinstance(policy.deployers[number], Renews)]
    if renewing and len(targets) > 1:
        return cannot(
            f"what keeps {renewing[0]} renews it by itself, and it lies at {len(targets) - 1} other places, which have their copy "
            "from somewhere: have that copied, or give it a certificate of its own"
        )
    if not names:
        return cannot("the certificate has no names to ask for")
    wider = set(names) - set(had)
    needed = policy.needed
    why = ""
    if wider and needed == 0:
        # Unchanged scope may be automatic; anything wider is somebody's decision.
        needed, why = 1, f"asks for more names than before: {', '.join(sorted(wider))}"
    steps = [] if renewing else [DraftStep(kind="issue")]
    for place, (uri, deployer) in enumerate(targets):
        steps.append(DraftStep(kind="deploy", target=uri, deployer=deployer))
        if place == 0 and len(targets) > 1:
            steps.append(DraftStep(kind="verify", target=uri))
    steps.append(DraftStep(kind="verify"))
    if policy.keys.revoke or KEY_LOST & set(causes):
        steps.append(DraftStep(kind="revoke"))
    return Draft(
        policy=policy.name,
        cause=causes,
        former=certificate.fingerprint_sha256,
        title=affected.title,
        names=names,
        needed=needed,
        steps=tuple(steps),
        served=tuple(each.location.uri for each in affected.served),
        why=why,
        drill=drill,
        not_after=certificate.not_after,
        service=policy.service_of(affected),
    )


def begins(draft: Draft, spread: timedelta, now: datetime) -> datetime | None:
    """Not before then. None: at once. The same for the same certificate, however often it is asked."""
    if not spread or draft.drill or set(draft.cause) != {"expiry"} or draft.not_after is None:
        return None
    if draft.not_after - now < 2 * spread:
        return None
    return now + spread * (int.from_bytes(draft.former[:8], "big") / 2**64)


def placed(affected: Affected, deployers: Sequence[Deployer]) -> tuple[list[tuple[str, int]], list[str]]:
    """Stored places with the first deployer that takes each, in order, a store behind those that use what it holds: one of them
    can be the canary, and not all of them at once; and those that none takes."""
    found: list[tuple[str, int]] = []
    left_out: list[str] = []
    for served in sorted(affected.stored, key=lambda each: bool(each.facts.get("in_use_by"))):
        target = Target(served=served, former=affected.certificate)
        number = next((n for n, each in enumerate(deployers) if each.takes(target)), None)
        if number is None:
            left_out.append(served.location.uri)
        else:
            found.append((served.location.uri, number))
    return found, left_out


def urgency(affected: Affected) -> tuple[int, float]:
    """The smaller, the sooner: gravest finding first, then the earliest end."""
    order: Mapping[str, int] = {"page": 0, "ticket": 1, "info": 2}
    gravest = min((order[each.severity] for each in affected.findings), default=1)
    end = affected.certificate.not_after
    return gravest, end.timestamp() if end is not None else 0.0
