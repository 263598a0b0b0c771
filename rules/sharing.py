"""Keys that are at home in more than one place, and certificates that nobody serves any more."""

from collections.abc import Iterator
from datetime import timedelta

from certwatch.model.finding import Problem, Severity
from certwatch.model.neighbour import Sharer
from certwatch.model.sighting import Served
from certwatch.plugins.rule import Rule, RuleConfig, Until, World

#: A place that has turned to another key wakes nobody.
RECHECK = timedelta(hours=6)
ENVIRONMENT = "environment"
SHOWN = 3


def _places(others: list[Sharer]) -> str:
    more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
    return ", ".join(each.location.uri for each in others[:SHOWN]) + more


def _shared(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    leaf, others = served.leaf, list(world.sharers)
    if leaf is None or not others:
        return
    said = _between(served, others)
    if said is None:
        return
    severity, summary, places = said
    yield Problem(
        severity=severity,
        fingerprint=leaf.fingerprint_sha256,
        summary=f"{leaf.shown}: its private key is also {summary}",
        text=f"It is seen at {_places(places)}. Whoever takes it from the weaker place has it for both, and one cannot be "
        "revoked without the other. Give each its own key and certificate.",
    )
    yield Until(instant=world.now + RECHECK)


def _between(served: Served, others: list[Sharer]) -> tuple[Severity, str, list[Sharer]] | None:
    """The gravest border that the key crosses. None: it crosses none."""
    leaf = served.leaf
    here = served.location.labels.get(ENVIRONMENT, "")
    beyond = [each for each in others if here and each.location.labels.get(ENVIRONMENT, here) != here]
    if beyond:
        there = sorted({each.location.labels[ENVIRONMENT] for each in beyond})
        return "ticket", f"in {', '.join(there[:SHOWN])}, not in {here} alone", beyond
    beyond = [each for each in others if served.owner and each.owner and each.owner != served.owner]
    if beyond:
        teams = sorted({each.owner for each in beyond})
        return "info", f"in the hands of {', '.join(teams[:SHOWN])}", beyond
    # A renewal may keep its key; another service must not have it.
    beyond = [
        each for each in others if leaf is not None and each.certificate.names and leaf.names
        and not set(each.certificate.names) & set(leaf.names)
    ]  # fmt: skip
    if beyond:
        return "info", f"that of {beyond[0].certificate.shown}", beyond
    return None


def _withdrawn(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
    leaf, since = served.leaf, world.withdrawn_at
    if leaf is None or since is None or leaf.not_after is None or leaf.not_after < world.now:
        return
    yield Problem(
        severity="info",
        fingerprint=leaf.fingerprint_sha256,
        summary=f"{leaf.shown} is kept, and no endpoint serves it any more",
        text=f"An endpoint served it until {since:%Y-%m-%dT%H:%MZ}. If it was replaced, remove it with its key; if it was "
        "not, find out what is served in its place: certwatch list NAME.",
    )
    yield Until(instant=leaf.not_after + timedelta(seconds=1))


SHARED = Rule(
    id="key-shared",
    title="Private key is used in two worlds",
    why="The same key is at places of different environments (the label `environment`), of different owners, or behind "
    "certificates of different services. What is lost in one is lost in all. One certificate on many hosts of one "
    "environment and owner is not told.",
    fix="Make a key for each, and reissue. All places: `certwatch list FINGERPRINT`.",
    severity="ticket",
    source="NIST SP 1800-16B, 4; NIST SP 800-57 Part 1, 5.2",
    evaluate=_shared,
)
WITHDRAWN = Rule(
    id="no-longer-served",
    title="Certificate is kept, and nobody serves it any more",
    why="It lies in a file or a store, is still valid, and the last endpoint that served it has stopped. A forgotten key is "
    "one that nobody guards.",
    fix="Remove it with its key, and take it out of what renews it; or put it back into service.",
    severity="info",
    source="NIST SP 1800-16B, 5",
    evaluate=_withdrawn,
)
