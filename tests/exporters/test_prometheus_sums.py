"""The sums over locations: whatever comes and goes, they are those of what is there, and they take little memory."""

import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from certwatch.model.certificate import Certificate, Fingerprint
from certwatch.model.location import Location, LocationURI, tls_location
from certwatch.model.observation import LookError
from certwatch.model.sighting import Served
from certwatch.plugins.testing import EPOCH, make_certificate
from exporters.prometheus.fingerprints import Fingerprints
from exporters.prometheus.index import Index
from exporters.prometheus.instants import Instants
from tests.exporters.test_prometheus import samples
from tests.support.serving import INTERMEDIATE, served

LEAF = served((make_certificate(issuer=INTERMEDIATE),)).chain[0]
ISSUER = served((INTERMEDIATE,)).chain[0]
NAMES = (
    "certwatch_locations",
    "certwatch_locations_failing",
    "certwatch_certificates",
    "certwatch_expiry_earliest_timestamp_seconds",
)


def numbered(number: int, ends: datetime | None) -> Certificate:
    fingerprint = Fingerprint(sha256(b"%d" % number).digest())
    return replace(LEAF, fingerprint_sha256=fingerprint, not_after=ends)


ENDS = (
    None,
    EPOCH,
    EPOCH + timedelta(seconds=1),
    EPOCH + timedelta(hours=1),
    datetime(1950, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
)
CERTIFICATES = tuple(numbered(number, ends) for number, ends in enumerate(ENDS))
URIS = (tls_location("192.0.2.1", 443), LocationURI("file:///etc/x.pem"))

PLACES = st.builds(
    lambda id, chain, owner, environment, uri, fails, retired, bundle: replace(
        served(()),
        id=id,
        chain=tuple(CERTIFICATES[each] for each in chain),
        location=Location(uri=URIS[uri], labels={"environment": environment} if environment else {}),
        owner=owner,
        collectors=(("edge",), ())[fails],
        error=LookError(kind="timeout", message="x") if fails else None,
        retired_at=EPOCH if retired else None,
        facts={"arrangement": "bundle"} if bundle else {},
    ),
    st.sampled_from([1, 2, 3, 1023, 1024, 5000]),
    st.lists(st.integers(0, len(CERTIFICATES) - 1), max_size=4),
    st.sampled_from(["", "payments"]),
    st.sampled_from(["", "prod"]),
    st.integers(0, 1),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


def summed(places: list[Served]) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """The same by counting what is there."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {name: {} for name in NAMES}
    groups: dict[tuple[tuple[str, str], ...], list[Served]] = {}
    for each in places:
        labels = {
            "owner": each.owner,
            "environment": each.location.labels.get("environment", ""),
            "collector": each.collectors[0] if each.collectors else "",
        }
        groups.setdefault(tuple(sorted((k, v) for k, v in labels.items() if v)), []).append(each)
        leaf = each.leaf
        if leaf is not None and leaf.not_after is not None and each.facts.get("arrangement") != "bundle":
            del labels["collector"]
            labels["presence"] = each.location.standing
            key = tuple(sorted((k, v) for k, v in labels.items() if v))
            earliest = found[NAMES[3]]
            earliest[key] = min(earliest.get(key, float("inf")), leaf.not_after.timestamp())
    for group, members in groups.items():
        found[NAMES[0]][group] = len(members)
        found[NAMES[1]][group] = sum(each.error is not None for each in members)
        found[NAMES[2]][group] = len(
            {certificate.fingerprint_sha256 for each in members for certificate in each.chain}
        )
    return found


@given(st.lists(PLACES, max_size=40), st.booleans())
def test_the_sums_are_those_of_what_is_there(news: list[Served], per_certificate: bool) -> None:
    index = Index(per_certificate=per_certificate)
    there: dict[int, Served] = {}
    for place in news:
        index.put(place)
        there.pop(place.id, None)
        if place.retired_at is None:
            there[place.id] = place
    expected = summed(list(there.values()))
    for name in NAMES:
        assert samples(index, name) == expected[name]
    told = {dict(labels)["fingerprint_sha256"] for labels in samples(index, "certwatch_certificate_info")}
    shown = {certificate.fingerprint_sha256.hex() for each in there.values() for certificate in each.chain}
    assert told == (shown if per_certificate else set())


@given(st.lists(st.tuples(st.booleans(), st.integers(-7300, 7300))))
def test_of_instants_that_come_and_go_the_earliest_is_known(changes: list[tuple[bool, int]]) -> None:
    instants, there = Instants(), list[int]()
    for comes, instant in changes:
        if comes:
            instants.add(instant)
            there.append(instant)
        elif there:
            instants.remove(there.pop(instant % len(there)))
        assert instants.earliest() == min(there, default=None)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=400))
def test_fingerprints_have_their_numbers_for_as_long_as_they_are_there(
    changes: list[tuple[bool, int]],
) -> None:
    names = [Fingerprint(sha256(b"%d" % number).digest()) for number in range(31)]
    there = dict[Fingerprint, int]()
    # Few slots, so that they collide and are built anew.
    with patch("exporters.prometheus.fingerprints._FIRST_SLOTS", 4):
        fingerprints = Fingerprints()
        for comes, which in changes:
            name = names[which]
            if name not in there and comes:
                there[name] = fingerprints.add(name)
            elif name in there and not comes:
                assert fingerprints.remove(there.pop(name)) == name
            assert {each: fingerprints.find(each) for each in names if fingerprints.find(each)} == there
            assert {number: fingerprints[number] for number in there.values()} == {
                number: each for each, number in there.items()
            }
            assert len(fingerprints) == len(there)


def test_without_series_a_location_takes_seventy_bytes() -> None:
    """A leaf for every two locations, and an end of its own for each leaf: a fleet of 2,000,000 locations fits into 140 MB."""
    count = 20_000
    index = Index(per_certificate=False)
    tracemalloc.start()
    for number in range(count):
        # Made here and dropped: what stays is the index's.
        leaf = numbered(number // 2, EPOCH + timedelta(minutes=number // 2))
        index.put(
            replace(
                served((), uri=tls_location(f"10.0.{number >> 8}.{number & 255}", 443)),
                id=number + 1,
                chain=(leaf, ISSUER),
            )
        )
    index.render()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / count < 70
