"""What ACME clients are told to renew, and whether they do."""

from datetime import timedelta
from typing import Any

import pytest

from certwatch.model.finding import Problem
from certwatch.model.location import LocationURI
from certwatch.plugins import registry
from certwatch.plugins.rule import Until, World
from certwatch.plugins.testing import EPOCH, make_certificate
from tests.support.serving import served

#: Of 90 days, 60 of which are to come.
LEAF = make_certificate(not_before=EPOCH - timedelta(days=30), not_after=EPOCH + timedelta(days=60))
PLACE = LocationURI("acme://web/www.example.com")


def said(rule: str, now: Any = EPOCH, leaf: Any = LEAF, **facts: Any) -> tuple[list[str], list[Any]]:
    """Severities, and instants of change."""
    loaded = registry.load("rules", rule)
    place = served([leaf], uri=PLACE, facts={"renewal_client": "certbot", **facts})
    assert loaded.concerns(place)
    found = list(loaded.evaluate(place, loaded.Config(), World(now=now)))
    return (
        [each.severity for each in found if isinstance(each, Problem)],
        [each.instant for each in found if isinstance(each, Until)],
    )


def test_what_is_not_to_be_renewed_is_a_ticket_until_it_has_ended() -> None:
    end = EPOCH + timedelta(days=60, seconds=1)
    assert said("renewal-off", renewal_off=True) == (["ticket"], [end])
    assert said("renewal-off", end, renewal_off=True) == ([], [])
    assert said("renewal-off") == ([], [])


@pytest.mark.parametrize(("days", "told"), [(1.9, False), (2.1, True)])
def test_a_renewal_that_its_client_has_missed_is_a_ticket(days: float, told: bool) -> None:
    due = EPOCH - timedelta(days=days)
    severities, until = said("renewal-overdue", renewal_due_at=due.isoformat())
    assert severities == (["ticket"] if told else [])
    assert until == ([] if told else [due + timedelta(days=2)])


def test_a_short_life_has_a_short_grace() -> None:
    leaf = make_certificate(not_before=EPOCH - timedelta(days=5), not_after=EPOCH + timedelta(days=1))
    due = (EPOCH - timedelta(hours=13)).isoformat()
    assert said("renewal-overdue", leaf=leaf, renewal_due_at=due)[0] == ["ticket"]


def test_what_is_not_renewed_at_all_is_told_once() -> None:
    due = (EPOCH - timedelta(days=9)).isoformat()
    assert said("renewal-overdue", renewal_due_at=due, renewal_off=True) == ([], [])
    assert said("renewal-overdue", renewal_due_at="soon") == ([], [])
