"""Hosts that are expected, and that nobody looks at."""

from collections.abc import Iterator
from datetime import timedelta

from certwatch.model.finding import Problem
from certwatch.model.location import parse_tls_location
from certwatch.model.sighting import Served
from certwatch.plugins.duration import Duration
from certwatch.plugins.rule import Rule, RuleConfig, Until, World

#: A place that is looked at from now on wakes nobody.
RECHECK = timedelta(minutes=15)


class ExpectedConfig(RuleConfig):
    #: How long it may take until a host that is expected is seen.
    grace: Duration = timedelta(hours=1)
    #: Expect what clusters say that they serve (Ingresses, Gateways, routes) as well. It may be out of reach from here.
    clusters: bool = False


def _unseen(served: Served, config: ExpectedConfig, world: World) -> Iterator[Problem | Until]:
    facts = served.facts
    cluster = served.location.kind == "k8s"
    if cluster and not config.clusters:
        return
    host, port = (
        facts.get("kubernetes_host" if cluster else "expected_host"),
        facts.get("kubernetes_port" if cluster else "expected_port"),
    )
    if not isinstance(host, str) or not host or host.startswith("*"):
        return
    there = [each for each in world.endpoints if parse_tls_location(each.location).port == port]
    if any(each.answered for each in there):
        yield Until(instant=world.now + RECHECK)
        return
    due = served.first_seen + config.grace
    if world.now < due:
        yield Until(instant=due)
        return
    yield Until(instant=world.now + RECHECK)
    looked = (
        f"It is looked at ({there[0].location}), and has never answered: see what is said of that place."
        if there
        else "No collector looks at it: add it to the targets of one, or take it out of the list."
    )
    yield Problem(
        severity="ticket",
        fingerprint=None,
        summary=f"{host}:{port} is expected, and was never seen",
        text=f"It is named by {', '.join(served.collectors) or 'nobody any more'} ({served.location.uri}). {looked} Until then nobody "
        "knows which certificate it serves, and until when.",
    )


RULE = Rule(
    id="host-unseen",
    title="Host is expected and was never seen",
    why="An inventory is as good as it is complete (M9). What lists, DNS zones or Prometheus' targets name (the collector `hosts`), "
    "and with `clusters: true` what Kubernetes says that it serves, is held against the TLS endpoints that are looked at, by "
    "name and port. What was seen once and fails now is `unreachable`.",
    fix="Add it to the targets of a `tls` collector, open the way to it, or take it out of the list if it serves no TLS.",
    severity="ticket",
    source="certwatch",
    evaluate=_unseen,
    Config=ExpectedConfig,
    kinds=frozenset(["host", "k8s"]),
)
