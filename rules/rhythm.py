"""Renewals that have always come by themselves, and this time have not."""

from collections.abc import Iterator
from datetime import timedelta

from pydantic import Field

from certwatch.model.finding import Problem
from certwatch.model.sighting import Served
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.expiry import ExpiryConfig, leads

#: Replaced with less left than this: nobody renews so by intention.
LEAST_LEFT = 0.05
#: Replaced with more left: another name was added, a key was changed; no renewal.
MOST_LEFT = 0.75


class RhythmConfig(RuleConfig):
    #: So many renewals are a rhythm.
    renewals: int = Field(default=2, ge=2, le=8)
    #: So much later than ever is late, in percent of the lifetime.
    late_percent: int = Field(default=5, ge=1, le=50)


def _rhythm(served: Served, config: RhythmConfig, world: World) -> Iterator[Problem | Until]:
    leaf = served.leaf
    usual = [each for each in world.renewals if LEAST_LEFT <= each.left <= MOST_LEFT]
    if leaf is None or leaf.lifetime is None or leaf.not_after is None or len(usual) < config.renewals:
        return
    least = min(each.left for each in usual)
    due = leaf.not_after - leaf.lifetime * max(0.0, least - config.late_percent / 100)
    _, ticket = leads(leaf, ExpiryConfig())
    told_elsewhere = leaf.not_after - ticket
    if due >= told_elsewhere:
        return
    if world.now < due:
        yield Until(instant=due)
        return
    if world.now >= told_elsewhere:
        return  # by `expiry`
    yield Until(instant=told_elsewhere)
    last = usual[-1]
    yield Problem(
        severity="ticket",
        fingerprint=leaf.fingerprint_sha256,
        summary=f"{leaf.shown} has not been renewed in its usual rhythm",
        text=f"The {len(usual)} renewals before came with {_days(least, leaf.lifetime)} or more left (the last one at "
        f"{last.replaced_at:%Y-%m-%d}); this one, which ends at {leaf.not_after:%Y-%m-%dT%H:%MZ}, has less. What renews it has "
        "stopped, or fails: look at its log and its timer before the end is near.",
    )


def _days(part: float, lifetime: timedelta) -> str:
    left = part * lifetime
    return f"{left.days} days" if left >= timedelta(days=3) else f"{round(left.total_seconds() / 3600)} hours"


RULE = Rule(
    id="renewal-rhythm",
    title="Certificate was not renewed in its usual rhythm",
    why="A place whose certificates were always replaced with, say, a third of their lifetime left is renewed by a program. "
    "When it gets later than it ever was, the program has stopped: weeks before anything expires, and before the leads of "
    "`expiry`. From then on that rule tells of it.",
    fix="Find what renews it (certbot, acme.sh, cert-manager, a pipeline), and read its log. See the rhythm: `certwatch show "
    "LOCATION`.",
    severity="ticket",
    source="certwatch",
    evaluate=_rhythm,
    Config=RhythmConfig,
)
