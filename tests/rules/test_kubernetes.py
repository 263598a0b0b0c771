"""What cert-manager cannot do, told after a while and with its own words."""

from datetime import timedelta
from typing import Any

from certwatch.model.finding import Problem
from certwatch.model.location import LocationURI
from certwatch.plugins import registry
from certwatch.plugins.rule import Until, World
from certwatch.plugins.testing import EPOCH
from tests.support.serving import served

URI = LocationURI("k8s://prod/payments/certificate/web")
SINCE = "2026-11-01T11:00:00Z"


def said(now: Any = EPOCH, rule_id: str = "cert-manager-not-ready", **facts: Any) -> list[Problem | Until]:
    rule = registry.load("rules", rule_id)
    return list(rule.evaluate(served((), uri=URI, facts=facts), rule.Config(), World(now=now)))


def test_what_is_ready_or_no_matter_of_cert_manager_is_not_told() -> None:
    assert said(kubernetes_ready=True) == []
    assert said() == []


def test_what_is_not_ready_is_told_after_its_grace_with_reason_and_attempts() -> None:
    (problem,) = said(
        kubernetes_ready=False,
        kubernetes_not_ready_since=SINCE,
        kubernetes_reason="DoesNotExist",
        kubernetes_message="Secret does not exist.",
        kubernetes_failed_attempts=3,
    )
    assert isinstance(problem, Problem)
    assert problem.summary == "cert-manager: prod/payments/certificate/web is not ready (DoesNotExist)"
    assert problem.text.startswith("Secret does not exist. 3 attempts have failed.")


def test_before_that_it_may_be_under_way() -> None:
    soon = EPOCH - timedelta(minutes=50)
    assert said(soon, kubernetes_ready=False, kubernetes_not_ready_since=SINCE) == [
        Until(instant=EPOCH - timedelta(minutes=30))
    ]


def test_a_time_that_cannot_be_read_counts_from_when_it_was_first_seen() -> None:
    assert said(kubernetes_ready=False, kubernetes_not_ready_since="yesterday") == [
        Until(instant=EPOCH + timedelta(minutes=30))
    ]


OVERDUE = "cert-manager-renewal-overdue"


def test_a_renewal_that_is_hours_late_is_told_though_the_certificate_is_ready() -> None:
    late = {"kubernetes_ready": True, "kubernetes_renewal_at": "2026-11-01T09:00:00Z"}
    (problem,) = said(EPOCH, OVERDUE, kubernetes_not_after="2026-12-01T09:00:00Z", **late)
    assert isinstance(problem, Problem)
    assert problem.summary == (
        "cert-manager: prod/payments/certificate/web should have been renewed at 2026-11-01T09:00Z"
    )
    assert "ends at 2026-12-01T09:00:00Z" in problem.text


def test_a_renewal_has_its_time_and_what_is_not_ready_has_its_own_rule() -> None:
    due = {"kubernetes_renewal_at": "2026-11-01T11:00:00Z"}
    assert said(EPOCH, OVERDUE, kubernetes_ready=True, **due) == [Until(instant=EPOCH + timedelta(hours=1))]
    assert said(EPOCH + timedelta(days=9), OVERDUE, kubernetes_ready=False, **due) == []
    assert said(EPOCH, OVERDUE, kubernetes_ready=True) == []
    assert said(EPOCH, OVERDUE, kubernetes_renewal_at="soon") == []
