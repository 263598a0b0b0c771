"""Who answers for a location."""

from collections.abc import Sequence
from dataclasses import dataclass

from certwatch.expressions.condition import Expression
from certwatch.expressions.fields import Subject
from certwatch.model.sighting import Served

#: Labels that name the team, the first that is set.
OWNER_LABELS = ("owner", "team")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerRule:
    team: str
    when: Expression
    #: Who is paged for this team's findings. None: the team itself.
    page: str | None = None


def owner_of(served: Served, rules: Sequence[OwnerRule]) -> str:
    """The team: the location's own label `owner`, else `team`, else the first rule that holds. Empty: nobody."""
    for label in OWNER_LABELS:
        if served.location.labels.get(label):
            return served.location.labels[label]
    if not rules:
        return ""
    subject = subject_of(served)
    return next((rule.team for rule in rules if rule.when.matches(subject)), "")


def pages_of(rules: Sequence[OwnerRule]) -> dict[str, str]:
    """By team, who is paged for it: of several rules of one team the first that says so."""
    pages: dict[str, str] = {}
    for rule in rules:
        if rule.page:
            pages.setdefault(rule.team, rule.page)
    return pages


def subject_of(served: Served) -> Subject:
    """A location and its leaf, as conditions of owners and rules see them."""
    return Subject(
        certificate=served.leaf,
        location=served.location,
        chain=served.chain,
        facts=served.facts,
        collectors=served.collectors,
        owner=served.owner,
    )
