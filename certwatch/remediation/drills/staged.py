"""What an exercise may break: certificates all of whose places are in staging, which a policy can renew, and nobody is renewing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from certwatch.inventory.store import Query, Reader
from certwatch.model.certificate import Certificate
from certwatch.model.sighting import Served
from certwatch.plugins.deployer import Deployer, Target
from certwatch.remediation.affected import Affected, affected_one
from certwatch.remediation.book import Book
from certwatch.remediation.compromise import all_have
from certwatch.remediation.failure import RemediationError
from certwatch.remediation.plan import Draft, placed
from certwatch.remediation.policy import Policy, first_fitting
from certwatch.remediation.propose import propose_one


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    affected: Affected
    policy: Policy
    draft: Draft
    #: By URI: where it lies.
    places: dict[str, tuple[Deployer, Target]]

    @property
    def served(self) -> tuple[str, ...]:
        return tuple(each.location.uri for each in self.affected.served)


def check_label(label: tuple[str, str]) -> None:
    """Raises RemediationError: production is no place for exercises."""
    if label[0] == "environment" and label[1].lower().startswith("prod"):
        raise RemediationError(
            "usage", f"{label[0]}={label[1]}: exercises break things; name a staging label"
        )


def staged(
    reader: Reader,
    book: Book,
    policies: Sequence[Policy],
    label: tuple[str, str],
    now: datetime,
    *,
    about: Certificate | None = None,
    places: int = 1,
    rule: str | None = None,
) -> Staged:
    """`about`, or the first that fits: it lies at `places` places at least, and its policy acts on `rule`. Raises
    RemediationError."""
    check_label(label)
    busy = {each.former for each in book.active()}
    reasons: list[str] = []
    entries = [about] if about is not None else [each.certificate for each in reader.list(Query(), now)]
    for certificate in entries:
        if certificate.is_ca:
            continue
        affected = affected_one(reader, certificate.fingerprint_sha256, now)
        if affected is None or not all_have(affected, label):
            reasons.append(f"{certificate.shown}: not all of its places have {label[0]}={label[1]}")
            continue
        one = propose_one(affected, policies, drill=True, for_findings=False)
        policy = first_fitting(policies, affected)
        if policy is None or not isinstance(one, Draft):
            reasons.append(f"{affected.title}: {one.why if one is not None else 'no policy fits it'}")
        elif rule is not None and rule not in policy.keys.rules:
            reasons.append(f"{affected.title}: policy {policy.name} does not act on {rule}")
        elif affected.certificate.fingerprint_sha256 in busy:
            reasons.append(f"{affected.title}: is being renewed already")
        elif not affected.served:
            reasons.append(f"{affected.title}: clients see it nowhere")
        elif len(affected.stored) < places:
            reasons.append(
                f"{affected.title}: lies at {len(affected.stored)} places, and {places} are needed"
            )
        else:
            return Staged(affected=affected, policy=policy, draft=one, places=_places(affected, policy))
    why = reasons[-1] if about is not None and reasons else f"of {len(reasons)}, for example {reasons[-1]}" if reasons else "none is known"  # fmt: skip
    raise RemediationError("refused", f"no certificate can be exercised on: {why}")


def _places(affected: Affected, policy: Policy) -> dict[str, tuple[Deployer, Target]]:
    targets, _ = placed(affected, policy.deployers)
    by_uri: dict[str, Served] = {each.location.uri: each for each in affected.stored}
    return {
        uri: (policy.deployers[number], Target(served=by_uri[uri], former=affected.certificate))
        for uri, number in targets
    }
