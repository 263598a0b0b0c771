"""Locations that nobody answers for."""

from collections.abc import Iterator

from certwatch.model.finding import Problem
from certwatch.model.sighting import Served
from certwatch.plugins.rule import Rule, RuleConfig, Until, World


class UnownedConfig(RuleConfig):
    #: Off by default: without owner rules every location would be told.
    enabled: bool = False


def _unowned(served: Served, config: UnownedConfig, world: World) -> Iterator[Problem | Until]:
    if not config.enabled or served.owner or not served.chain:
        return
    yield Problem(
        severity="ticket",
        fingerprint=None,
        summary=f"{served.location.uri} has no owner",
        text="Whatever is wrong there reaches no team. Give it a label `owner` at its source, or a rule under `owners:` in "
        "the config.",
    )


RULE = Rule(
    id="unowned",
    title="Location has no owner",
    why="A finding without an owner is routed to nobody, or to everybody. Switch it on (`unowned: {enabled: true}`) once "
    "owners are configured.",
    fix="Add an owner rule that covers it: `certwatch list --where 'location.owner == \"\"'` shows them all.",
    severity="ticket",
    source="certwatch",
    evaluate=_unowned,
    Config=UnownedConfig,
)
