"""What clouds say of the certificates that they keep."""

from datetime import timedelta
from typing import Any

from certwatch.model.finding import Problem
from certwatch.model.location import LocationURI
from certwatch.plugins import registry
from certwatch.plugins.rule import Until, World
from certwatch.plugins.testing import EPOCH, make_certificate
from tests.support.serving import INTERMEDIATE, served, world

URI = LocationURI("aws://111111111111/eu-west-1/acm/1")
WEB = make_certificate(issuer=INTERMEDIATE)


def said(rule: str, *chain: Any, now: Any = EPOCH, **facts: Any) -> list[Problem | Until]:
    loaded = registry.load("rules", rule)
    return list(loaded.evaluate(served(chain, uri=URI, facts=facts), loaded.Config(), World(now=now)))


def test_a_renewal_that_failed_is_told_with_its_reason() -> None:
    (problem,) = said(
        "cloud-renewal-failing",
        WEB,
        renewal="failed",
        renewal_reason="CAA_ERROR",
        renewal_unvalidated="www.example.com",
    )
    assert isinstance(problem, Problem)
    assert problem.summary == "www.example.com is not renewed by its cloud (CAA_ERROR)"
    assert problem.text.startswith("Not validated: www.example.com. ")


def test_a_renewal_that_waits_for_validation_is_told_after_its_grace() -> None:
    facts = {
        "renewal": "pending",
        "renewal_since": "2026-10-31T12:00:00Z",
        "renewal_unvalidated": "a.example.com",
    }
    assert said("cloud-renewal-failing", WEB, **facts) == [Until(instant=EPOCH + timedelta(days=2))]
    (problem,) = said("cloud-renewal-failing", WEB, now=EPOCH + timedelta(days=2), **facts)
    assert isinstance(problem, Problem)
    assert problem.summary.endswith("is not renewed by its cloud: it waits for validation")


def test_a_renewal_that_is_under_way_or_done_is_not_told() -> None:
    assert said("cloud-renewal-failing", WEB, renewal="pending") == []
    assert said("cloud-renewal-failing", WEB, renewal="ok") == []
    assert said("cloud-renewal-failing", WEB) == []


def test_a_certificate_that_was_never_issued_is_told_by_its_name() -> None:
    (problem,) = said("cloud-renewal-failing", renewal="failed", aws_domain="new.example.com")
    assert isinstance(problem, Problem)
    assert problem.summary == "new.example.com is not issued by its cloud"


def test_the_ca_of_a_database_is_told_before_it_ends() -> None:
    facts = {
        "aws_certificate_authority": "rds-ca-2019",
        "aws_certificate_authority_not_after": "2027-01-01T00:00:00Z",
    }
    (problem,) = said("cloud-database-ca", **facts)
    assert isinstance(problem, Problem)
    assert problem.summary == (
        "Database 111111111111/eu-west-1/acm/1: its CA rds-ca-2019 ends at 2027-01-01T00:00Z"
    )
    later = {**facts, "aws_certificate_authority_not_after": "2061-01-01T00:00:00Z"}
    (until,) = said("cloud-database-ca", **later)
    assert isinstance(until, Until)
    assert said("cloud-database-ca", aws_certificate_not_after="never") == []


def test_cloudfront_with_a_certificate_from_iam_is_told() -> None:
    (problem,) = said("cloud-wrong-store", WEB, aws_certificate_source="iam")
    assert isinstance(problem, Problem)
    assert said("cloud-wrong-store", WEB, aws_certificate_source="acm") == []


def test_what_nobody_uses_pages_nobody() -> None:
    expiry = registry.load("rules", "expiry")
    now = EPOCH + timedelta(days=61)

    def severity(**facts: Any) -> str:
        (problem,) = [
            each
            for each in expiry.evaluate(served((WEB,), uri=URI, facts=facts), expiry.Config(), world(now))
            if isinstance(each, Problem)
        ]
        return problem.severity

    assert severity(in_use=False) == "ticket"
    assert severity(in_use=True) == severity() == "page"
