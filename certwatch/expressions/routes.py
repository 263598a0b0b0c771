"""Who is told of a finding, where that is not who answers for the location."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from certwatch.expressions.condition import Expression
from certwatch.expressions.findings import finding_subject
from certwatch.model.finding import Finding
from certwatch.model.sighting import Served


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    #: A name that exporters know: the label `route` of alerts, a key of `owners` of notifications.
    to: str
    when: Expression


def router(routes: Sequence[Route]) -> Callable[[Finding, Served | None], str]:
    """Where a finding goes: to the first route that holds. Empty: none does, its owner is told."""

    def route_of(finding: Finding, served: Served | None) -> str:
        subject = finding_subject(finding, served)
        return next((each.to for each in routes if each.when.matches(subject)), "")

    return route_of
