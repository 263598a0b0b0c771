"""Locations that cannot be looked at."""

from collections.abc import Iterator
from datetime import timedelta

from certwatch.model.finding import Problem, Severity
from certwatch.model.sighting import Served
from certwatch.plugins.duration import Duration
from certwatch.plugins.rule import Rule, RuleConfig, Until, World

#: Responders and CRLs have rules of their own (`rules.revocation`).
_TOLD_ELSEWHERE = ("ocsp", "http", "https")


class UnreachableConfig(RuleConfig):
    #: How long looks must fail before a ticket is opened for a location that once answered.
    after: Duration = timedelta(minutes=15)


def _unreachable(served: Served, config: UnreachableConfig, world: World) -> Iterator[Problem | Until]:
    if served.error is None or served.failing_since is None:
        return
    if served.location.kind in _TOLD_ELSEWHERE:
        return
    severity: Severity = "info"
    if served.last_served is not None:
        due = served.failing_since + config.after
        if world.now < due:
            yield Until(instant=due)
            return
        severity = "ticket"
    since = served.failing_since.isoformat(timespec="seconds").replace("+00:00", "Z")
    known = (
        "Its last known certificate stays in force for all other rules."
        if served.chain
        else "It never answered."
    )
    yield Problem(
        severity=severity,
        fingerprint=None,
        summary=f"{served.location.uri} cannot be read: {served.error.kind}",
        text=f"{served.error.message} (since {since}). {known} Bring it back, or take it out of the config.",
    )


RULE = Rule(
    id="unreachable",
    title="Location cannot be looked at",
    why="What cannot be looked at cannot be judged: a renewal or a wrong certificate goes unseen. A location that "
    "once answered gets a ticket after a quarter of an hour; one that never did is only told.",
    fix="The summary has the kind of failure: `dns`, `refused`, `unreachable`, `timeout`, `reset`, `not-tls`, "
    "`tls-alert`, `no-certificate`, `malformed`, `permission`, `not-found`, `passphrase`. Look for yourself: "
    "`certwatch scan TARGET`.",
    severity="ticket",
    source="certwatch",
    evaluate=_unreachable,
    Config=UnreachableConfig,
)
