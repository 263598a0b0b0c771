"""A rule from the user's config: a condition on a location and its leaf."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from certwatch.expressions.condition import Expression
from certwatch.expressions.owners import subject_of
from certwatch.model.certificate import Certificate
from certwatch.model.finding import Problem, Severity
from certwatch.model.sighting import Served
from certwatch.plugins.rule import Rule, RuleConfig, Until, World

SECOND = timedelta(seconds=1)
LAST = datetime.max.replace(tzinfo=UTC) - SECOND
#: Names of the trust stores that accept what is presented there.
TrustedBy = Callable[[Served, World], Iterable[str]]


def _turns(chain: Iterable[Certificate]) -> Iterator[datetime]:
    """When a store may come to another word: a validity begins, or has ended (its last second is inside, RFC 5280, 4.1.2.5)."""
    for each in chain:
        if each.not_before is not None:
            yield each.not_before
        if each.not_after is not None and each.not_after < LAST:
            yield each.not_after + SECOND


def custom_rule(
    id: str,
    *,
    severity: Severity,
    when: Expression,
    summary: str = "",
    text: str = "",
    trusted_by: TrustedBy = lambda served, world: (),
) -> Rule:
    """Finds each location where `when` holds. `when` is of scope "rule": of the time nothing depends but `trusted_by`."""
    said = summary or f"{id}: the condition of this rule holds"
    read = when.reads.get("location", frozenset())
    asks_for_trust = read is None or "trusted_by" in read

    def evaluate(served: Served, config: RuleConfig, world: World) -> Iterator[Problem | Until]:
        subject = subject_of(served)
        if asks_for_trust:
            subject = replace(subject, trusted_by=lambda: trusted_by(served, world))
            yield from (Until(instant=at) for at in _turns(served.chain) if at > world.now)
        if when.matches(subject):
            leaf = served.leaf
            yield Problem(
                severity=severity,
                fingerprint=leaf.fingerprint_sha256 if leaf is not None else None,
                summary=f"{leaf.subject if leaf is not None else served.location.uri}: {said}",
                text=text or f"Your own rule {id} holds here: {when.text}",
            )

    return Rule(
        id=id,
        title=summary or id,
        why=text or "A rule of your own configuration.",
        fix=f"What it checks: {when.text}",
        severity=severity,
        source="rules.custom of the configuration",
        evaluate=evaluate,
    )
