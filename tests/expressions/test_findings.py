"""Conditions on findings: what a silence covers, and what `findings --where` lets through."""

from dataclasses import replace
from datetime import timedelta

import pytest

from certwatch.expressions import ExpressionError
from certwatch.expressions.findings import Silences, findings_filter
from certwatch.model.finding import Finding, FindingID, Problem
from certwatch.model.silence import Matter, Silence, SilenceID
from certwatch.plugins.testing import EPOCH, make_certificate
from tests.support.serving import served

LEAF = make_certificate(names=("dns:www.example.com",))
SERVED = served([LEAF], owner="lab")
FINGERPRINT = SERVED.chain[0].fingerprint_sha256
PROBLEM = Problem(severity="page", fingerprint=FINGERPRINT, summary="expires", text="Renew it.")
MATTER = Matter(rule="expiry", location=SERVED.location.uri, fingerprint=FINGERPRINT)


def silence(covers: Matter | str, *, id: int = 1, hours: float = 1) -> Silence:
    return Silence(
        id=SilenceID(id),
        covers=covers,
        until=EPOCH + timedelta(hours=hours),
        author="ada",
        reason="known",
        created_at=EPOCH,
    )


def covering(*silences: Silence, rule: str = "expiry", hours: float = 0) -> int | None:
    found = Silences(silences).covering(rule, PROBLEM, SERVED, EPOCH + timedelta(hours=hours))
    return None if found is None else found.id


@pytest.mark.parametrize(
    ("covers", "covered"),
    [
        (MATTER, True),
        (replace(MATTER, rule="names"), False),
        (replace(MATTER, fingerprint=None), False),
        ('finding.rule == "expiry"', True),
        ('finding.severity == "page" && location.owner == "lab"', True),
        ('"dns:www.example.com" in cert.names', True),
        ('location.labels.environment == "test"', False),
    ],
)
def test_a_silence_covers_what_it_says(covers: Matter | str, covered: bool) -> None:
    assert (covering(silence(covers)) is not None) == covered


def test_it_holds_until_its_end_and_not_at_it() -> None:
    assert covering(silence(MATTER), hours=0.99) == 1
    assert covering(silence(MATTER), hours=1) is None
    assert covering(silence("true"), hours=1) is None


def test_of_several_the_one_that_holds_longest_covers() -> None:
    assert covering(silence(MATTER, id=1), silence("true", id=2, hours=5)) == 2
    assert covering(silence(MATTER, id=1, hours=9), silence("true", id=2, hours=5)) == 1


def test_a_condition_that_is_not_understood_covers_nothing_and_is_told() -> None:
    silences = Silences([silence("finding.colour == 1")])
    assert not silences
    assert [each.id for each, _ in silences.refused] == [1]


FINDING = Finding(
    id=FindingID(7),
    rule="expiry",
    severity="page",
    location=SERVED.location.uri,
    fingerprint=FINGERPRINT,
    summary="expires",
    text="Renew it.",
    runbook="docs/rules/expiry.md",
    owner="lab",
    opened_at=EPOCH,
    resolved_at=None,
)


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ('finding.owner == "lab" && !finding.silenced', True),
        ('now - finding.opened_at > duration("1h")', True),
        ("has(finding.resolved_at)", False),
        ('cert.key.type == "ec"', True),
        ('location.error == "timeout"', False),
    ],
)
def test_findings_where_speaks_of_finding_certificate_and_place(where: str, holds: bool) -> None:
    assert findings_filter(where, EPOCH + timedelta(hours=2))(FINDING, SERVED) == holds


def test_a_condition_on_a_place_that_is_forgotten_does_not_hold() -> None:
    assert not findings_filter('location.owner == "lab"', EPOCH)(FINDING, None)
    assert findings_filter('finding.owner == "lab"', EPOCH)(FINDING, None)


def test_now_is_not_for_silences() -> None:
    findings_filter("now > finding.opened_at", EPOCH)
    assert Silences([silence("now > cert.not_after")]).refused
    with pytest.raises(ExpressionError, match='unknown name "findings"'):
        findings_filter("findings.rule", EPOCH)
