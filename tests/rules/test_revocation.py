"""What is said of responders, CRLs and staples, and when."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from certwatch.model.finding import Problem
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, LookError
from certwatch.model.sighting import Served
from certwatch.plugins import registry
from certwatch.plugins.rule import Until
from certwatch.plugins.testing import EPOCH, make_certificate
from tests.support.serving import INTERMEDIATE, served, world

RULES = ("revoked", "ocsp-failing", "ocsp-wrong", "ocsp-staple", "crl-stale", "crl-large", "crl-failing")
PRINT = "ab" * 32
OCSP = LocationURI(f"ocsp://ocsp.example.com/?certificate={PRINT}")
CRL = LocationURI("http://crl.example.com/ca.crl")
HOUR = timedelta(hours=1)
TIMEOUT = LookError(kind="timeout", message="http://ocsp.example.com/: no whole answer within 10 s.")


def said(place: Served, now: datetime = EPOCH) -> dict[str, list[Problem | Until]]:
    every = registry.names("rules")
    loaded = {name: registry.load("rules", name) for name in every}
    found = {
        name: list(rule.evaluate(place, rule.Config(), world(now)))
        for name, rule in loaded.items()
        if rule.concerns(place)
    }
    return {name: each for name, each in found.items() if each}


def severities(place: Served, now: datetime = EPOCH) -> dict[str, str]:
    return {
        name: each.severity
        for name, all_ in said(place, now).items()
        for each in all_
        if isinstance(each, Problem)
    }


def statement(uri: LocationURI = OCSP, **facts: Fact) -> Served:
    base: dict[str, Fact] = {"certificate": PRINT, "certificate_name": "www.example.com"}
    return served((), uri=uri, facts=base | facts, last_served=EPOCH)


def iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("uri", [OCSP, LocationURI(f"{CRL}#{PRINT}")])
def test_a_revoked_certificate_is_a_page_of_that_certificate(uri: LocationURI) -> None:
    place = statement(uri, revocation_status="revoked", revocation_reason="keyCompromise")
    (found,) = said(place).values()
    (problem,) = found
    assert isinstance(problem, Problem)
    assert (problem.severity, problem.fingerprint) == ("page", bytes.fromhex(PRINT))
    assert problem.summary == "www.example.com is revoked, and still in use"
    assert "keyCompromise" in problem.text


def test_a_good_answer_is_nothing_until_it_ends() -> None:
    place = statement(revocation_status="good", ocsp_next_update=iso(EPOCH + HOUR))
    assert said(place) == {"ocsp-wrong": [Until(instant=EPOCH + 1.5 * HOUR)]}
    # The last look was before its end: there may be a newer one by now.
    assert severities(place, EPOCH + HOUR + timedelta(seconds=1)) == {}
    assert severities(place, EPOCH + 1.5 * HOUR) == {"ocsp-wrong": "page"}
    looked = replace(place, last_seen=EPOCH + HOUR + timedelta(seconds=1))
    assert severities(looked, EPOCH + HOUR + timedelta(seconds=2)) == {"ocsp-wrong": "page"}


@pytest.mark.parametrize(
    ("fault", "severity"),
    [("delegate", "page"), ("stale", "page"), ("nonce", "ticket"), ("unsuccessful", "ticket")],
)
def test_an_answer_that_must_not_be_believed_is_told(fault: str, severity: str) -> None:
    assert severities(statement(ocsp_fault=fault, ocsp_fault_text="why")) == {"ocsp-wrong": severity}


def test_a_responder_that_does_not_know_the_certificate_is_told() -> None:
    assert severities(statement(revocation_status="unknown")) == {"ocsp-wrong": "ticket"}


@pytest.mark.parametrize(("uri", "rule"), [(OCSP, "ocsp-failing"), (CRL, "crl-failing")])
def test_what_does_not_answer_is_a_ticket_and_then_a_page(uri: LocationURI, rule: str) -> None:
    place = served((), uri=uri, error=TIMEOUT, failing_since=EPOCH)
    assert severities(place, EPOCH + timedelta(minutes=14)) == {}
    assert Until(instant=EPOCH + timedelta(minutes=15)) in said(place, EPOCH)[rule]
    assert severities(place, EPOCH + timedelta(minutes=15)) == {rule: "ticket"}
    assert severities(place, EPOCH + 2 * HOUR) == {rule: "page"}


def crl(**facts: Any) -> Served:
    base: dict[str, Fact] = {
        "crl_issuer": "CN=Test Root",
        "crl_this_update": iso(EPOCH),
        "crl_next_update": iso(EPOCH + 100 * HOUR),
        "crl_verified": True,
        "crl_bytes": 1000,
        "crl_entries": 3,
    }
    return served((), uri=CRL, facts=base | facts, last_served=EPOCH)


def test_a_crl_is_a_ticket_when_little_of_it_is_left_and_a_page_when_nothing_is() -> None:
    assert severities(crl(), EPOCH + 79 * HOUR) == {}
    assert severities(crl(), EPOCH + 80 * HOUR) == {"crl-stale": "ticket"}
    assert severities(crl(), EPOCH + 100 * HOUR) == {"crl-stale": "ticket"}
    # Published at the last moment, after the last look: nobody is woken for that.
    second = timedelta(seconds=1)
    assert severities(crl(), EPOCH + 100 * HOUR + second) == {"crl-stale": "ticket"}
    assert said(crl(), EPOCH + 100 * HOUR + second)["crl-stale"][-1] == Until(instant=EPOCH + 100.5 * HOUR)
    assert severities(crl(), EPOCH + 100.5 * HOUR) == {"crl-stale": "page"}
    looked = replace(crl(), last_seen=EPOCH + 100 * HOUR + second)
    assert severities(looked, EPOCH + 100 * HOUR + 2 * second) == {"crl-stale": "page"}


def test_a_crl_that_nobody_known_signed_and_one_that_is_huge_are_told() -> None:
    assert severities(crl(crl_verified=False)) == {"crl-stale": "ticket"}
    assert severities(crl(crl_bytes=20_000_000)) == {"crl-large": "ticket"}


def tls(*, must_staple: bool, **facts: Fact) -> Served:
    feature = x509.TLSFeature([x509.TLSFeatureType.status_request])
    leaf = make_certificate(issuer=INTERMEDIATE, extensions=[(feature, False)] if must_staple else [])
    return served((leaf, INTERMEDIATE), facts=facts)


def test_a_certificate_that_demands_a_staple_must_have_one() -> None:
    once: dict[str, Fact] = {"ocsp_stapled": False}
    assert severities(tls(must_staple=True, **once)) == {"ocsp-staple": "ticket"}
    again: dict[str, Fact] = {**once, "ocsp_staple_missing_again": True}
    assert severities(tls(must_staple=True, **again)) == {"ocsp-staple": "page"}
    assert severities(tls(must_staple=False, **again)) == {}
    assert severities(tls(must_staple=False, ocsp_stapled=False)) == {}
    good: dict[str, Fact] = {"ocsp_stapled": True, "staple_status": "good"}
    assert severities(tls(must_staple=True, **good)) == {}


@pytest.mark.parametrize("stapled", [True, False])
def test_a_staple_now_and_then_is_one_matter_with_and_without(stapled: bool) -> None:
    facts: dict[str, Fact] = {"ocsp_stapled": stapled, "ocsp_stapled_intermittently": True}
    assert severities(tls(must_staple=False, **facts)) == {"ocsp-staple": "ticket"}
    assert severities(tls(must_staple=True, **facts)) == {"ocsp-staple": "page"}


def test_a_staple_that_has_ended_or_is_wrong_is_told_whoever_demands_it() -> None:
    end: dict[str, Fact] = {"ocsp_stapled": True, "staple_next_update": iso(EPOCH)}
    assert severities(tls(must_staple=False, **end), EPOCH) == {}
    assert severities(tls(must_staple=False, **end), EPOCH + timedelta(seconds=1)) == {}
    assert severities(tls(must_staple=False, **end), EPOCH + HOUR / 2) == {"ocsp-staple": "ticket"}
    wrong: dict[str, Fact] = {"ocsp_stapled": True, "staple_fault": "signature"}
    assert severities(tls(must_staple=True, **wrong)) == {"ocsp-staple": "page"}


@pytest.mark.parametrize("junk", ["", "yesterday", "99999-01-01", "\0", 7, True, None])
def test_facts_of_any_shape_break_nothing(junk: Fact) -> None:
    names = [
        "certificate",
        "certificate_name",
        "revocation_status",
        "ocsp_next_update",
        "staple_next_update",
        "crl_issuer",
        "crl_this_update",
        "crl_next_update",
        "crl_bytes",
    ]
    for uri in (OCSP, CRL):
        said(served((), uri=uri, facts=dict.fromkeys(names, junk)))
    said(tls(must_staple=True, **dict.fromkeys(names, junk)))
