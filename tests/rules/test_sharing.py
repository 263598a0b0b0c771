"""Keys in two worlds, certificates that nobody serves."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from certwatch.model.finding import Problem
from certwatch.model.location import Location, file_location, tls_location
from certwatch.model.neighbour import Sharer
from certwatch.model.sighting import Served
from certwatch.plugins import registry
from certwatch.plugins.rule import Until, World
from certwatch.plugins.testing import EPOCH, make_certificate
from tests.support.serving import TRUST, served

LEAF = make_certificate(names=("dns:www.example.com",))
OTHER_SERVICE = make_certificate(names=("dns:api.example.com",))
HERE = replace(
    served([LEAF]),
    owner="web",
    location=Location(uri=tls_location("192.0.2.1", 443), labels={"environment": "prod"}),
)


def sharer(leaf: Any = LEAF, *, owner: str = "web", environment: str = "prod") -> Sharer:
    place = served([leaf])
    location = Location(
        uri=tls_location("192.0.2.9", 443), labels={"environment": environment} if environment else {}
    )
    return Sharer(location_id=9, location=location, owner=owner, certificate=place.chain[0])


def said(rule: str, place: Served, **world: Any) -> list[Problem | Until]:
    loaded = registry.load("rules", rule)
    return list(loaded.evaluate(place, loaded.Config(), World(now=EPOCH, trust=TRUST, **world)))


def problem(rule: str, place: Served, **world: Any) -> Problem | None:
    return next((each for each in said(rule, place, **world) if isinstance(each, Problem)), None)


@pytest.mark.parametrize(
    ("other", "severity", "part"),
    [
        (sharer(), None, ""),
        (sharer(environment="test"), "ticket", "in test, not in prod alone"),
        (sharer(environment=""), None, ""),
        (sharer(owner="shop"), "info", "in the hands of shop"),
        (sharer(owner=""), None, ""),
        (sharer(OTHER_SERVICE), "info", "that of api.example.com"),
        (sharer(OTHER_SERVICE, environment="test"), "ticket", "in test"),
    ],
)
def test_a_key_that_crosses_a_border_is_told_by_the_gravest(
    other: Sharer, severity: str | None, part: str
) -> None:
    found = problem("key-shared", HERE, sharers=[sharer(), other])
    assert (found.severity if found else None) == severity
    assert part in (found.summary if found else "")


def test_where_the_environment_is_not_known_none_is_crossed() -> None:
    bare = replace(HERE, location=replace(HERE.location, labels={}))
    assert problem("key-shared", bare, sharers=[sharer(environment="test")]) is None


def test_a_reissue_that_keeps_its_key_is_another_rules_matter() -> None:
    renewed = make_certificate(names=("dns:www.example.com", "dns:example.com"))
    assert problem("key-shared", HERE, sharers=[sharer(renewed)]) is None


def test_what_lies_in_a_file_after_its_last_endpoint_is_told_until_it_ends() -> None:
    stored = replace(HERE, location=Location(uri=file_location("/etc/ssl/old.pem")))
    found = said("no-longer-served", stored, withdrawn_at=EPOCH - timedelta(hours=1))
    assert [each.severity for each in found if isinstance(each, Problem)] == ["info"]
    assert Until(instant=LEAF.certificate.not_valid_after_utc + timedelta(seconds=1)) in found
    assert said("no-longer-served", stored) == []
    expired = served([make_certificate(not_after=EPOCH - timedelta(days=1))])
    assert said("no-longer-served", expired, withdrawn_at=EPOCH - timedelta(days=2)) == []
