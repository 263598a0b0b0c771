"""A rule from the user's config: a condition on a location and its leaf."""

from collections.abc import Iterator

from certwatch.expressions.condition import Expression
from certwatch.expressions.owners import subject_of
from certwatch.model.finding import Problem, Severity
from certwatch.model.sighting import Served
from certwatch.plugins.rule import Rule, RuleConfig, World


def custom_rule(id: str, *, severity: Severity, when: Expression, summary: str = "", text: str = "") -> Rule:
    """Finds each location where `when` holds. `when` is of scope "rule": it does not depend on the time."""
    said = summary or f"{id}: the condition of this rule holds"

    def evaluate(served: Served, config: RuleConfig, world: World) -> Iterator[Problem]:
        if when.matches(subject_of(served)):
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
