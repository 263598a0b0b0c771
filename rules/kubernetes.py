"""What cert-manager says of what it looks after."""

from collections.abc import Iterator
from datetime import timedelta

from certwatch.model.finding import Problem
from certwatch.model.instants import read_instant
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
    due = (read_instant(facts.get("kubernetes_not_ready_since")) or served.first_seen) + config.grace
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


class OverdueConfig(RuleConfig):
    #: How long after the instant that cert-manager set itself the renewal may take.
    grace: Duration = timedelta(hours=2)


def _overdue(served: Served, config: OverdueConfig, world: World) -> Iterator[Problem | Until]:
    renewal = read_instant(served.facts.get("kubernetes_renewal_at"))
    if renewal is None or served.facts.get("kubernetes_ready") is False:
        # What is not ready is told of by the other rule, with the reason.
        return
    due = renewal + config.grace
    if world.now < due:
        yield Until(instant=due)
        return
    what = served.location.uri.partition("?")[0].removeprefix("k8s://")
    end = served.facts.get("kubernetes_not_after")
    yield Problem(
        severity="ticket",
        fingerprint=None,
        summary=f"cert-manager: {what} should have been renewed at {renewal:%Y-%m-%dT%H:%MZ}",
        text="It says that it is ready, and nothing has happened since then: most likely cert-manager itself does not run, or "
        "does not look at this namespace. "
        + (f"The certificate ends at {end}. " if end else "")
        + "kubectl -n cert-manager get pods; kubectl -n cert-manager logs deploy/cert-manager.",
    )


OVERDUE = Rule(
    id="cert-manager-renewal-overdue",
    title="cert-manager has not renewed what it should have renewed",
    why="A Certificate says when it is to be renewed (status.renewalTime), and that has passed. As long as the old certificate "
    "is valid it stays Ready, so that a controller that has died is noticed only when certificates end, all of them together.",
    fix="See that cert-manager runs and what its log says of the Certificate; `cmctl renew NAME` asks for a renewal at once.",
    severity="ticket",
    source="cert-manager.io/v1, status.renewalTime",
    evaluate=_overdue,
    Config=OverdueConfig,
    kinds=frozenset(["k8s"]),
)
