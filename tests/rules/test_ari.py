"""What a CA says of when it wants a certificate replaced."""

from datetime import datetime, timedelta

import pytest

from certwatch.model.finding import Problem
from certwatch.model.location import LocationURI
from certwatch.plugins.rule import Until
from certwatch.plugins.testing import EPOCH
from rules.ari import RULE
from tests.support.serving import served, world

DAY = timedelta(days=1)


def iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def said(
    now: datetime, *, start: timedelta, end: timedelta, lifetime: timedelta = 90 * DAY, why: str = ""
) -> list[Problem | Until]:
    facts = {
        "certificate": "ab" * 32,
        "certificate_name": "www.example.com",
        "certificate_not_before": iso(EPOCH),
        "certificate_not_after": iso(EPOCH + lifetime),
        "ari_start": iso(EPOCH + start),
        "ari_end": iso(EPOCH + end),
        "ari_explanation": why,
    }
    place = served((), uri=LocationURI("ari://acme.example.com/x.y"), facts=facts)
    return list(RULE.evaluate(place, RULE.Config(), world(now)))


def test_a_usual_window_is_a_ticket_a_day_after_its_end() -> None:
    start, end = 59 * DAY, 61 * DAY
    assert said(EPOCH, start=start, end=end) == [Until(instant=EPOCH + 62 * DAY)]
    (found,) = said(EPOCH + 62 * DAY, start=start, end=end)
    assert isinstance(found, Problem)
    assert (found.severity, found.fingerprint) == ("ticket", bytes.fromhex("ab" * 32))
    assert "was not renewed when its CA expected it" in found.summary


def test_a_window_that_was_brought_forward_is_a_page_from_its_beginning() -> None:
    start, end = 5 * DAY, 6 * DAY
    assert said(EPOCH + 4 * DAY, start=start, end=end) == [Until(instant=EPOCH + 5 * DAY)]
    (found,) = said(EPOCH + 5 * DAY, start=start, end=end, why="https://ca.example/incident")
    assert isinstance(found, Problem)
    assert found.severity == "page"
    assert "it says why at https://ca.example/incident" in found.text


@pytest.mark.parametrize(("start", "end"), [(3.3, 3.4), (3, 3.2)])
def test_short_lives_are_renewed_at_their_half(start: float, end: float) -> None:
    (until,) = said(EPOCH, start=start * DAY, end=end * DAY, lifetime=6.67 * DAY)
    assert isinstance(until, Until) and until.instant == EPOCH + (end + 1) * DAY


def test_the_grace_is_never_longer_than_half_of_what_is_left() -> None:
    (until,) = said(EPOCH, start=1.5 * DAY, end=1.9 * DAY, lifetime=2 * DAY)
    assert isinstance(until, Until) and until.instant == EPOCH + 1.95 * DAY
