"""What a CA's books say, held against where certificates are in use."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from certwatch.model.finding import Problem
from certwatch.model.location import Location, LocationURI, tls_location
from certwatch.model.neighbour import Sharer
from certwatch.plugins import registry
from certwatch.plugins.rule import Until, World
from certwatch.plugins.testing import EPOCH, make_certificate
from tests.support.serving import served

LEAF = make_certificate()
RECORD = LocationURI("cadb://corp/0a01")
DATABASE = LocationURI("ca-database://corp")
IN_USE = Sharer(
    location_id=3,
    location=Location(uri=tls_location("192.0.2.1", 443)),
    owner="",
    certificate=served([LEAF]).chain[0],
)


def said(
    rule: str,
    uri: LocationURI,
    chain: Any = (),
    now: Any = EPOCH,
    sharers: Any = (),
    config: Any = None,
    **facts: Any,
) -> list[Problem | Until]:
    loaded = registry.load("rules", rule)
    place = served(chain, uri=uri, facts=facts)
    assert loaded.concerns(place)
    world = World(now=now, sharers=sharers)
    return list(loaded.evaluate(place, loaded.Config(**(config or {})), world))


def problems(*args: Any, **fields: Any) -> list[Problem]:
    return [each for each in said(*args, **fields) if isinstance(each, Problem)]


def test_what_is_revoked_in_the_books_and_in_use_is_a_page_with_the_place() -> None:
    facts = {"ca_status": "revoked", "revocation_reason": "keyCompromise"}
    (problem,) = problems("ca-revoked-in-use", RECORD, [LEAF], sharers=[IN_USE], **facts)
    assert problem.severity == "page"
    assert "tls://192.0.2.1:443/" in problem.text
    assert "keyCompromise" in problem.text
    # Nowhere in use, it is looked at again; a renewal that keeps the key is another certificate.
    assert problems("ca-revoked-in-use", RECORD, [LEAF], **facts) == []
    renewed = replace(IN_USE, certificate=served([make_certificate()]).chain[0])
    assert problems("ca-revoked-in-use", RECORD, [LEAF], sharers=[renewed], **facts) == []
    assert problems("ca-revoked-in-use", RECORD, [LEAF], sharers=[IN_USE], ca_status="issued") == []


def test_a_serial_number_given_twice_is_a_ticket() -> None:
    assert len(problems("ca-serial-collision", RECORD, [LEAF], ca_collision="0a0b")) == 1
    assert problems("ca-serial-collision", RECORD, [LEAF]) == []


def test_what_is_seen_nowhere_is_told_where_that_is_wanted() -> None:
    on = {"enabled": True}
    assert len(problems("ca-issued-unseen", RECORD, [LEAF], config=on, ca_status="issued")) == 1
    assert problems("ca-issued-unseen", RECORD, [LEAF], ca_status="issued") == []
    assert problems("ca-issued-unseen", RECORD, [LEAF], config=on, sharers=[IN_USE], ca_status="issued") == []
    assert problems("ca-issued-unseen", RECORD, [LEAF], config=on, ca_status="revoked") == []


@pytest.mark.parametrize(("hours", "told"), [(23, False), (25, True)])
def test_requests_that_wait_too_long_are_a_ticket(hours: float, told: bool) -> None:
    since = (EPOCH - timedelta(hours=hours)).isoformat()
    found = problems("ca-requests-pending", DATABASE, ca_pending=3, ca_pending_since=since)
    assert bool(found) == told


def test_a_database_that_was_set_back_is_told_for_a_week() -> None:
    facts = {"ca_went_back_at": EPOCH.isoformat()}
    assert len(problems("ca-database-restored", DATABASE, now=EPOCH + timedelta(days=6), **facts)) == 1
    assert problems("ca-database-restored", DATABASE, now=EPOCH + timedelta(days=8), **facts) == []


def test_general_rules_have_no_word_on_what_is_only_in_the_books() -> None:
    expired = make_certificate(not_after=EPOCH - timedelta(days=3))
    place = served([expired], uri=RECORD)
    assert [name for name in registry.names("rules") if registry.load("rules", name).concerns(place)] == [
        "ca-duplicates",
        "ca-issued-unseen",
        "ca-policy",
        "ca-revoked-in-use",
        "ca-serial-collision",
    ]
