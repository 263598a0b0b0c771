"""Clocks that disagree: told once for a place, until they agree again."""

from datetime import datetime, timedelta

import pytest

from certwatch.model.finding import Problem
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact
from certwatch.plugins.rule import Until
from certwatch.plugins.testing import EPOCH
from rules.clocks import RULE
from tests.support.serving import served, world

RESPONDER = LocationURI("ocsp://ocsp.example.com/?certificate=" + "ab" * 32)
CRL = LocationURI("http://crl.example.com/ca.crl")
MINUTE = timedelta(minutes=1)


def said(uri: LocationURI, facts: dict[str, Fact], now: datetime = EPOCH) -> list[Problem | Until]:
    return list(RULE.evaluate(served((), uri=uri, facts=facts), RULE.Config(), world(now)))


@pytest.mark.parametrize(
    ("minutes", "word"), [(5, "ahead of"), (-180, "behind"), (60 * 24 * 400, "ahead of")]
)
def test_a_server_whose_clock_is_off_is_a_ticket(minutes: int, word: str) -> None:
    (problem,) = said(RESPONDER, {"clock_offset_minutes": minutes})
    assert isinstance(problem, Problem)
    assert problem.severity == "ticket"
    assert problem.summary == f"Clock of ocsp://ocsp.example.com/ is more than 5 minutes {word} this host's"


@pytest.mark.parametrize("facts", [{}, {"clock_offset_minutes": 4}, {"clock_offset_minutes": "much"}])
def test_clocks_that_agree_well_enough_say_nothing(facts: dict[str, Fact]) -> None:
    assert said(RESPONDER, facts) == []


@pytest.mark.parametrize(
    ("uri", "fact"),
    [(RESPONDER, "ocsp_produced_at"), (RESPONDER, "ocsp_this_update"), (CRL, "crl_this_update")],
)
def test_what_begins_in_the_future_is_told_until_then(uri: LocationURI, fact: str) -> None:
    begin = EPOCH + 30 * MINUTE
    until, problem = said(uri, {fact: begin.isoformat()})
    assert until == Until(instant=begin - 5 * MINUTE)
    assert isinstance(problem, Problem) and "in the future, at 2026-11-01T12:30Z" in problem.summary
    assert said(uri, {fact: begin.isoformat()}, begin - 5 * MINUTE) == []


def test_instants_that_are_none_are_passed_over() -> None:
    assert said(CRL, {"crl_this_update": "2999-01-01T00:00:00"}) == []  # without a zone
    assert said(CRL, {"crl_this_update": "soon"}) == []
