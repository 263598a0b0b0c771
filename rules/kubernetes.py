"""What cert-manager says of what it looks after."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from certwatch.model.finding import Problem
from certwatch.model.sighting import Served
from certwatch.plugins.duration import Duration
from certwatch.plugins.rule import Rule, RuleConfig, Until, World


class NotReadyConfig(RuleConfig):
    #: How long it may be so: an issuance takes its time.
    grace: Duration = timedelta(minutes=30)


def _not_ready(served: Served, config: NotReadyConfig, world: World) -> Iterator[Problem | Until]:
    facts = served.facts
    if facts.get("kubernetes_ready") is not False:
        return
    due = (_instant(facts.get("kubernetes_not_ready_since")) or served.first_seen) + config.grace
    if world.now < due:
        yield Until(instant=due)
        return
    reason, message = (
        str(facts.get("kubernetes_reason") or "no reason"),
        str(facts.get("kubernetes_message") or ""),
    )
    attempts = facts.get("kubernetes_failed_attempts")
    what = served.location.uri.partition("?")[0].removeprefix("k8s://")
    yield Problem(
        severity="ticket",
        fingerprint=None,
        summary=f"cert-manager: {what} is not ready ({reason})",
        text=(f"{message} " if message else "")
        + (f"{attempts} attempts have failed. " if attempts else "")
        + "Nothing is renewed by it as long as that is so. kubectl describe it, then its CertificateRequests and Orders; "
        "cmctl status certificate NAME shows all of them.",
    )


def _instant(text: object) -> datetime | None:
    try:
        instant = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else None


RULE = Rule(
    id="cert-manager-not-ready",
    title="cert-manager cannot issue or renew",
    why="A Certificate, an Issuer or a ClusterIssuer has no condition Ready that is true: what depends on it is not renewed, "
    "and the first to notice would be its users, on the day when it ends.",
    fix="`kubectl describe certificate NAME`, then its CertificateRequest, Order and Challenges. An Issuer: its account, its "
    "credentials, its CA.",
    severity="ticket",
    source="cert-manager.io/v1, status.conditions",
    evaluate=_not_ready,
    Config=NotReadyConfig,
    kinds=frozenset(["k8s"]),
)
