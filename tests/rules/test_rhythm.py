"""Late, by what was usual at this place."""

from datetime import datetime, timedelta

import pytest

from certwatch.model.finding import Problem
from certwatch.model.renewal import Renewal
from certwatch.plugins.rule import Until, World
from certwatch.plugins.testing import EPOCH, make_certificate
from rules.rhythm import RULE
from tests.support.serving import INTERMEDIATE, served

DAY = timedelta(days=1)
LEAF = make_certificate(issuer=INTERMEDIATE, not_before=EPOCH, not_after=EPOCH + 90 * DAY)
PLACE = served([LEAF, INTERMEDIATE])


def renewed(left: float, *, ago: int) -> Renewal:
    """With so many days of ninety left, so many days before the epoch."""
    at = EPOCH - ago * DAY
    return Renewal(replaced_at=at, not_before=at - (90 - left) * DAY, not_after=at + left * DAY)


STEADY = (renewed(30, ago=120), renewed(31, ago=60), renewed(30, ago=0))


def said(now: datetime, renewals: tuple[Renewal, ...]) -> list[Problem | Until]:
    return list(RULE.evaluate(PLACE, RULE.Config(), World(now=now, renewals=renewals)))


def test_it_is_told_from_a_twentieth_after_the_latest_that_was_usual_until_expiry_tells_it() -> None:
    (until,) = said(EPOCH + 60 * DAY, STEADY)
    late = EPOCH + 90 * DAY - 25.5 * DAY
    assert until == Until(instant=late)
    then, problem = said(late, STEADY)
    assert isinstance(problem, Problem)
    assert problem.severity == "ticket"
    assert "The 3 renewals before came with 30 days or more left" in problem.text
    assert isinstance(then, Until)
    assert then.instant == EPOCH + 90 * DAY - 22.5 * DAY, "the ticket of expiry"
    assert said(then.instant, STEADY) == []


@pytest.mark.parametrize(
    "renewals",
    [
        (),
        STEADY[:1],
        (renewed(80, ago=100), renewed(85, ago=50)),  # names that were added
        (renewed(-3, ago=100), renewed(1, ago=50)),  # by hand, at the last moment
        (*STEADY, renewed(20, ago=0)),  # it has been later: expiry is first
    ],
)
def test_what_is_no_rhythm_says_nothing(renewals: tuple[Renewal, ...]) -> None:
    assert said(EPOCH + 66 * DAY, renewals) == []
