"""Staples that come and go."""

from datetime import timedelta

from cryptography import x509

from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, LookError, Observation
from certwatch.plugins.testing import EPOCH, make_certificate
from collectors.tls import staples
from collectors.tls.staples import Staples

PLACE = LocationURI("tls://192.0.2.1:443/?sni=www.example.com")
PLAIN = make_certificate().der
DEMANDS = make_certificate(extensions=[(x509.TLSFeature([x509.TLSFeatureType.status_request]), False)]).der


def look(hours: float, stapled: bool | None, der: bytes = PLAIN, uri: LocationURI = PLACE) -> Observation:
    facts: dict[str, Fact] = {} if stapled is None else {"ocsp_stapled": stapled}
    error = LookError(kind="timeout", message="x") if stapled is None else None
    return Observation(
        location=uri, observed_at=EPOCH + timedelta(hours=hours), chain=(der,), facts=facts, error=error
    )


def said(*looks: Observation) -> list[set[str]]:
    it = Staples()
    return [set(it.noted(each).facts) - {"ocsp_stapled"} for each in looks]


SOMETIMES, AGAIN = "ocsp_stapled_intermittently", "ocsp_staple_missing_again"


def test_with_without_and_with_again_within_a_day_is_now_and_then() -> None:
    looks = [look(hour, stapled) for hour, stapled in enumerate([True, False, True, False, True])]
    assert said(*looks) == [set(), set(), set(), {SOMETIMES}, {SOMETIMES}]
    assert said(*looks, look(40, True))[-1] == set()


def test_a_restart_is_not_now_and_then() -> None:
    assert said(look(0, True), look(1, False), look(2, True), look(30, True)) == [set()] * 4
    slowly = [look(20 * n, n % 2 == 0) for n in range(6)]
    assert said(*slowly) == [set()] * 6


def test_none_at_two_looks_in_a_row_is_told_where_one_is_demanded_or_was_before() -> None:
    assert said(look(0, False, DEMANDS), look(1, False, DEMANDS), look(2, True, DEMANDS)) == [
        set(),
        {AGAIN},
        set(),
    ]
    assert said(look(0, True), look(1, False), look(2, False)) == [set(), set(), {AGAIN}]
    assert said(look(0, False), look(1, False)) == [set(), set()]


def test_a_look_that_failed_says_nothing() -> None:
    assert said(look(0, False, DEMANDS), look(1, None, DEMANDS), look(2, False, DEMANDS)) == [
        set(),
        set(),
        {AGAIN},
    ]


def test_places_are_forgotten_beyond_a_bound() -> None:
    it = Staples()
    for number in range(staples.MOST + 5):
        it.noted(look(0, True, uri=LocationURI(f"tls://192.0.2.1:{number}/")))
    assert len(it._known) == staples.MOST
