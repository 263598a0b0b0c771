"""States are derived, never stored."""

from dataclasses import replace
from datetime import timedelta

import pytest

from certwatch.model.certificate import Certificate, Fingerprint, PublicKey
from certwatch.model.lifecycle import Presence, presence, validity
from certwatch.model.location import Location, LocationURI, Standing
from certwatch.plugins.testing import EPOCH

PLAIN = Certificate(
    der=b"",
    fingerprint_sha256=Fingerprint(bytes(32)),
    spki_sha256=None,
    tbs_sha256=None,
    subject="CN=x",
    issuer="CN=x",
    subject_der=None,
    issuer_der=None,
    serial_number=0x0A1F,
    not_before=EPOCH,
    not_after=EPOCH + timedelta(days=1),
    names=(),
    key=PublicKey(type="unknown", bits=None),
    signature_algorithm="",
    is_ca=False,
)
TICK = timedelta(microseconds=1)


def test_both_ends_of_the_validity_are_inside_it() -> None:
    """RFC 5280, 4.1.2.5: from notBefore through notAfter, inclusive."""
    end = EPOCH + timedelta(days=1)
    assert validity(PLAIN, EPOCH - TICK) == "not-yet-valid"
    assert validity(PLAIN, EPOCH) == "valid"
    assert validity(PLAIN, end) == "valid"
    assert validity(PLAIN, end + TICK) == "expired"


def test_unreadable_dates_are_no_verdict() -> None:
    assert validity(replace(PLAIN, not_after=None), EPOCH) == "unknown"


@pytest.mark.parametrize(
    ("lasting", "ended", "locations_live", "state"),
    [
        ({"recorded", "stored", "served"}, {"stored"}, 1, "served"),
        ({"recorded", "stored"}, {"served"}, 1, "stored"),
        ({"recorded"}, {"served"}, 1, "superseded"),
        ({"recorded"}, {"stored"}, 0, "retired"),
        (set(), {"served"}, 1, "superseded"),
        (set(), {"served", "recorded"}, 0, "retired"),
        ({"recorded"}, set(), 0, "issued"),
        (set(), {"recorded"}, 0, "issued"),
        (set(), set(), 0, "issued"),
    ],
)
def test_presence_follows_from_how_it_stands_where_it_is_seen(
    lasting: set[Standing], ended: set[Standing], locations_live: int, state: Presence
) -> None:
    assert presence(lasting=lasting, ended=ended, locations_live=locations_live) == state


@pytest.mark.parametrize(
    ("uri", "standing"),
    [
        ("tls://192.0.2.1:443/", "served"),
        ("file:///etc/ssl/site.pem", "stored"),
        ("k8s://prod/web/secret/tls", "stored"),
        ("cadb://corp/0a", "recorded"),
        ("ct://log/5", "recorded"),
        ("somebody-elses://place", "served"),
    ],
)
def test_a_place_that_is_not_known_counts_as_one_that_serves(uri: str, standing: Standing) -> None:
    assert Location(uri=LocationURI(uri)).standing == standing


@pytest.mark.parametrize(
    ("serial", "shown"),
    [(0x0A1F, "0a1f"), (0, "00"), (1, "01"), (-255, "-ff"), (None, ""), (2**159, "80" + "00" * 19)],
)
def test_serials_are_whole_bytes_of_hex(serial: int | None, shown: str) -> None:
    assert replace(PLAIN, serial_number=serial).serial_hex == shown


def test_a_contradictory_validity_has_no_lifetime() -> None:
    assert replace(PLAIN, not_after=EPOCH - TICK).lifetime is None
    assert PLAIN.lifetime == timedelta(days=1)
