"""How a CA issues."""

from datetime import timedelta
from typing import Any

import pytest

from certwatch.model.books import Books
from certwatch.model.finding import Problem
from certwatch.model.location import LocationURI, tls_location
from certwatch.model.neighbour import Neighbour
from certwatch.plugins import registry
from certwatch.plugins.rule import World
from certwatch.plugins.testing import EPOCH, Issued, make_ca, make_certificate
from tests.support.serving import served

RECORD = LocationURI("cadb://corp/0a01")
DATABASE = LocationURI("ca-database://corp")
SITE = tls_location("192.0.2.1", 443)
DAY = timedelta(days=1)
LEAF = make_certificate()


def problems(
    rule: str,
    uri: LocationURI,
    chain: list[Issued],
    *,
    now: Any = EPOCH,
    config: Any = None,
    world: Any = None,
    **facts: Any,
) -> list[Problem]:
    loaded = registry.load("rules", rule)
    place = served(chain, uri=uri, facts=facts)
    assert loaded.concerns(place)
    said = loaded.evaluate(place, loaded.Config(**(config or {})), World(now=now, **(world or {})))
    return [each for each in said if isinstance(each, Problem)]


def days(*counts: int) -> str:
    """The last is today."""
    first = EPOCH - (len(counts) - 1) * DAY
    return " ".join(f"{first + n * DAY:%Y-%m-%d}:{count}" for n, count in enumerate(counts))


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ((100, 120, 90, 110, 700), True),
        ((100, 120, 90, 700, 110), True),  # yesterday
        ((100, 120, 700, 90, 110), False),
        ((100, 120, 90, 110, 300), False),
        ((1, 2, 1, 2, 90), False),
        ((100, 700), False),
    ],
)
def test_a_day_of_far_more_certificates_than_usual_is_a_ticket(counts: tuple[int, ...], told: bool) -> None:
    found = problems("ca-issuance-spike", DATABASE, [], ca_issued_by_day=days(*counts))
    assert [each.severity for each in found] == (["ticket"] if told else [])
    if told:
        assert "issued 700 certificates" in found[0].summary


def test_what_is_no_count_is_passed_over() -> None:
    assert problems("ca-issuance-spike", DATABASE, [], ca_issued_by_day="x:1 2026-13-01:5 2026-11-01:y") == []


def neighbour(number: int, *, uri: str = "", begin: float = 0) -> Neighbour:
    made = make_certificate(serial_number=1000 + number, not_before=EPOCH - (40 - begin) * DAY)
    return Neighbour(
        location_id=number,
        location=LocationURI(uri or f"cadb://corp/{number:04x}"),
        certificate=served([made]).chain[0],
        since=EPOCH,
    )


def test_one_name_with_many_certificates_is_told_once_at_the_newest() -> None:
    leaf = make_certificate(not_before=EPOCH - DAY)
    others = [neighbour(number) for number in range(10)]
    found = problems("ca-duplicates", RECORD, [leaf], world={"neighbours": others}, ca_status="issued")
    assert ["11 certificates in force" in each.summary for each in found] == [True]
    assert (
        problems("ca-duplicates", RECORD, [leaf], world={"neighbours": others[1:]}, ca_status="issued") == []
    )
    newer = [*others, neighbour(11, begin=40)]
    assert problems("ca-duplicates", RECORD, [leaf], world={"neighbours": newer}, ca_status="issued") == []
    served_only = [neighbour(number, uri=f"tls://192.0.2.{number}:443/") for number in range(20)]
    assert (
        problems("ca-duplicates", RECORD, [leaf], world={"neighbours": served_only}, ca_status="issued") == []
    )


def test_a_policy_is_held_against_profile_and_validity() -> None:
    policy = {"longest": "60d", "profiles": {"long": "400d"}, "allowed": ["web", "long"]}

    def told(profile: str, status: str = "issued") -> list[str]:
        found = problems("ca-policy", RECORD, [LEAF], config=policy, ca_status=status, ca_profile=profile)
        return [each.summary for each in found]

    assert ["longer than is allowed" in each for each in told("web")] == [True]
    assert told("long") == []
    assert ["which is not allowed" in each for each in told("test")] == [True]
    assert told("test", "revoked") == []
    assert problems("ca-policy", RECORD, [LEAF], ca_status="issued", ca_profile="test") == []


def test_short_serial_numbers_are_told_of_the_database() -> None:
    assert len(problems("ca-serial-entropy", DATABASE, [], ca_short_serials=3)) == 1
    assert problems("ca-serial-entropy", DATABASE, [], ca_short_serials=0) == []


@pytest.mark.parametrize(("left", "told"), [(200, False), (115, True), (50, True), (-1, False)])
def test_a_ca_that_ends_before_what_it_issues_would_is_a_ticket(left: int, told: bool) -> None:
    ca = make_ca(not_after=EPOCH + left * DAY)
    found = problems("ca-issuing-horizon", DATABASE, [ca], ca_longest_lifetime_days=90)
    assert bool(found) == told


def test_of_a_ca_that_was_renewed_the_later_end_counts() -> None:
    old, new = make_ca(not_after=EPOCH + 50 * DAY), make_ca(not_after=EPOCH + 900 * DAY)
    assert problems("ca-issuing-horizon", DATABASE, [old, new], ca_longest_lifetime_days=90) == []


# The books


def books(
    *, recorded: bool = False, read: float = 0, databases: tuple[str, ...] = ("ca-database://corp",)
) -> Books:
    return Books(databases=databases, recorded=recorded, read_at=EPOCH + read * DAY)


def test_what_bears_our_cas_name_and_is_not_in_its_books_is_a_page_where_it_is_served() -> None:
    (found,) = problems("ca-unrecorded", SITE, [LEAF], world={"books": books()})
    assert (found.severity, "ca-database://corp" in found.text) == ("page", True)
    lying = LocationURI("file:///etc/ssl/site.pem")
    assert problems("ca-unrecorded", lying, [LEAF], world={"books": books()})[0].severity == "ticket"
    for other in (None, books(recorded=True), books(databases=())):
        assert problems("ca-unrecorded", SITE, [LEAF], world={"books": other}) == []


def test_what_the_books_may_not_have_yet_is_no_finding() -> None:
    new = make_certificate(not_before=EPOCH - DAY / 2)
    assert problems("ca-unrecorded", SITE, [new], world={"books": books()}) == []
    ended = make_certificate(not_after=EPOCH - DAY)
    assert problems("ca-unrecorded", SITE, [ended], world={"books": books()}) == []


def test_a_ca_without_books_is_told_where_that_is_wanted() -> None:
    nowhere = {"books": books(databases=())}
    leaf = make_certificate(issuer=make_ca())
    assert len(problems("ca-unknown", SITE, [leaf], config={"enabled": True}, world=nowhere)) == 1
    assert problems("ca-unknown", SITE, [leaf], world=nowhere) == []
    assert problems("ca-unknown", SITE, [leaf], config={"enabled": True}, world={"books": books()}) == []


# Whether clients hear of it


@pytest.mark.parametrize(
    ("uri", "status", "minutes", "told"),
    [
        ("ocsp://ocsp.example?certificate=aa", "good", 6, True),
        ("ocsp://ocsp.example?certificate=aa", "good", 4, False),
        ("ocsp://ocsp.example?certificate=aa", "revoked", 60, False),
        ("http://crl.example/ca.crl#aa", "good", 60, False),
        ("http://crl.example/ca.crl#aa", "good", 25 * 60, True),
    ],
)
def test_a_revocation_that_clients_do_not_hear_of_is_a_ticket(
    uri: str, status: str, minutes: float, told: bool
) -> None:
    found = problems(
        "ca-revocation-unpublished",
        LocationURI(uri),
        [],
        certificate="aa" * 32,
        certificate_name="www.example.com",
        certificate_ca_status="revoked",
        certificate_ca_revoked_at=(EPOCH - timedelta(minutes=minutes)).isoformat(),
        revocation_status=status,
    )
    assert [each.severity for each in found] == (["ticket"] if told else [])


def test_what_is_revoked_in_the_books_and_in_use_nowhere_is_not_said_to_be_in_use() -> None:
    facts = {"revocation_status": "revoked", "certificate": "aa" * 32, "certificate_name": "x"}
    uri = LocationURI("ocsp://ocsp.example?certificate=aa")
    assert problems("revoked", uri, [], certificate_location="cadb://corp/0a", **facts) == []
    assert len(problems("revoked", uri, [], certificate_location=SITE, **facts)) == 1
