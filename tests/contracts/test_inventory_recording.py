"""Every store: what recording a look does."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.inventory.store import InventoryError, Recorded
from certwatch.model.observation import LookError, ScanID
from certwatch.plugins.testing import EPOCH, make_ca, make_certificate
from tests.support.inventories import STORES, TIMEOUT, Tried, fingerprint, opened

ROOT = make_ca()
INTERMEDIATE = make_ca("Test Intermediate", issuer=ROOT, key_number=101)
FIRST = make_certificate(issuer=INTERMEDIATE)
SECOND = make_certificate(issuer=INTERMEDIATE, not_after=EPOCH + timedelta(days=150))
THIRD = make_certificate(issuer=INTERMEDIATE, not_after=EPOCH + timedelta(days=240))
URI = "tls://203.0.113.7:443/?sni=www.example.com"
OTHER = "tls://203.0.113.8:443/"


@pytest.fixture(params=STORES)
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tried]:
    with opened(request.param, tmp_path) as inventory:
        yield inventory


def test_what_was_seen_is_what_is_served(tried: Tried) -> None:
    tried.record(tried.look(OTHER, THIRD))
    at = tried.clock()
    look = tried.look(URI, FIRST, INTERMEDIATE, facts={"tls_version": "TLSv1.3", "ocsp_stapled": False})
    assert tried.record(look, collector="inner") == Recorded(unchanged=0, changed=1, new_certificates=2)
    served = tried.served(URI)
    assert [certificate.der for certificate in served.chain] == [FIRST.der, INTERMEDIATE.der]
    assert served.leaf is not None
    assert served.leaf.names == ("dns:www.example.com",)
    assert served.facts == {"tls_version": "TLSv1.3", "ocsp_stapled": False}
    assert served.collectors == ("inner",)
    assert (served.error, served.failing_since, served.retired_at, served.owner) == (None, None, None, "")
    assert served.first_seen == served.last_seen == served.last_served == at


def test_a_new_location_is_due_and_live(tried: Tried) -> None:
    tried.record(tried.look(URI, FIRST))
    assert tried.due() == [URI]
    assert [served.location.uri for served in tried.reader.live()] == [URI]
    assert tried.reader.counts().locations == 1


def test_an_unchanged_look_moves_the_time_and_nothing_else(tried: Tried) -> None:
    tried.record(tried.look(URI, FIRST, facts={"cipher": "TLS_AES_128_GCM_SHA256"}))
    before = tried.served(URI)
    tried.settle()
    at = tried.clock.advance(hours=1)
    again = tried.look(URI, FIRST, facts={"cipher": "TLS_AES_128_GCM_SHA256"})
    assert tried.record(again) == Recorded(unchanged=1, changed=0, new_certificates=0)
    after = tried.served(URI)
    assert (after.last_seen, after.last_served, after.first_seen) == (at, at, before.first_seen)
    assert tried.due() == []
    assert tried.history(URI) == [(FIRST.der, 0, EPOCH, at, None)]


def test_measured_seconds_are_no_change(tried: Tried) -> None:
    tried.record(tried.look(URI, FIRST, facts={"handshake_seconds": 0.012}))
    assert tried.record(tried.look(URI, FIRST, facts={"handshake_seconds": 0.5})).unchanged == 1


@pytest.mark.parametrize(
    "before, after",
    [
        ({"cipher": "a"}, {"cipher": "b"}),
        ({"cipher": "a"}, {}),
        ({}, {"key_match": False}),
        ({"n": 1}, {"n": 2.5}),
    ],
)
def test_another_stable_fact_is_a_change(tried: Tried, before: dict[str, str], after: dict[str, str]) -> None:
    tried.record(tried.look(URI, FIRST, facts=before))
    tried.settle()
    assert tried.record(tried.look(URI, FIRST, facts=after)).changed == 1
    assert tried.served(URI).facts == after
    assert tried.due() == [URI]


def test_the_order_of_facts_is_no_change(tried: Tried) -> None:
    tried.record(tried.look(URI, FIRST, facts={"a": 1, "b": 2}))
    assert tried.record(tried.look(URI, FIRST, facts={"b": 2, "a": 1})).unchanged == 1


def test_labels_are_the_collectors_and_the_observations_own_win(tried: Tried) -> None:
    look = tried.look(URI, FIRST, labels={"namespace": "payments", "environment": "staging"})
    tried.record(look, labels={"environment": "prod", "team": "edge"})
    labels = {"namespace": "payments", "environment": "staging", "team": "edge"}
    assert tried.served(URI).location.labels == labels


def test_other_labels_are_a_change(tried: Tried) -> None:
    tried.record(tried.look(URI, FIRST), labels={"team": "edge"})
    tried.settle()
    assert tried.record(tried.look(URI, FIRST), labels={"team": "core"}).changed == 1
    assert tried.served(URI).location.labels == {"team": "core"}
    assert tried.due() == [URI]


def test_two_collectors_watch_one_location(tried: Tried) -> None:
    tried.record(tried.look(URI, FIRST), collector="zone-b", labels={"zone": "b", "rack": "7"})
    tried.settle()
    tried.clock.advance(minutes=1)
    tried.record(tried.look(URI, FIRST), collector="zone-a", labels={"zone": "a"})
    served = tried.served(URI)
    assert served.collectors == ("zone-a", "zone-b")
    assert served.location.labels == {"zone": "a", "rack": "7"}
    assert tried.due() == [URI]
    tried.settle()
    tried.record(tried.look(URI, FIRST), collector="zone-b", labels={"zone": "b", "rack": "7"})
    assert tried.due() == []


def test_a_newer_certificate_ends_the_older_sighting_and_the_intermediate_stays(tried: Tried) -> None:
    tried.record(tried.look(URI, FIRST, INTERMEDIATE))
    seen = tried.clock()
    tried.record(tried.look(URI, FIRST, INTERMEDIATE))
    tried.settle()
    changed = tried.clock.advance(days=1)
    assert tried.record(tried.look(URI, SECOND, INTERMEDIATE)) == Recorded(
        unchanged=0, changed=1, new_certificates=1
    )
    assert tried.history(URI) == [
        (INTERMEDIATE.der, 1, EPOCH, changed, None),
        (FIRST.der, 0, EPOCH, seen, changed),
        (SECOND.der, 0, changed, changed, None),
    ]
    assert tried.due() == [URI]
    presence = {
        entry.certificate.der: entry.presence
        for der in (FIRST.der, SECOND.der, INTERMEDIATE.der)
        for entry in tried.reader.certificate(sha256_hex(der), tried.clock())
    }
    assert presence == {FIRST.der: "superseded", SECOND.der: "served", INTERMEDIATE.der: "served"}


def test_a_certificate_that_comes_back_has_two_sightings(tried: Tried) -> None:
    for each in (FIRST, SECOND, FIRST):
        tried.record(tried.look(URI, each))
    assert [row[0] for row in tried.history(URI)] == [FIRST.der, SECOND.der, FIRST.der]
    (entry,) = tried.reader.certificate(sha256_hex(FIRST.der), tried.clock())
    assert (entry.locations, len(entry.places), entry.places[0].ended_at) == (1, 1, None)


def test_a_longer_chain_and_another_order_are_changes(tried: Tried) -> None:
    tried.record(tried.look(URI, FIRST))
    assert tried.record(tried.look(URI, FIRST, INTERMEDIATE)).changed == 1
    assert tried.record(tried.look(URI, INTERMEDIATE, FIRST)).changed == 1
    assert tried.record(tried.look(URI, INTERMEDIATE, FIRST, FIRST)).changed == 1
    assert [each.der for each in tried.served(URI).chain] == [INTERMEDIATE.der, FIRST.der, FIRST.der]


def test_a_failed_look_keeps_the_last_chain_its_facts_and_its_age(tried: Tried) -> None:
    tried.record(tried.look(URI, FIRST, facts={"key_match": True}))
    tried.settle()
    failed = tried.clock.advance(hours=1)
    assert tried.record(tried.look(URI, error=TIMEOUT)).changed == 1
    served = tried.served(URI)
    assert [each.der for each in served.chain] == [FIRST.der]
    assert served.facts == {"key_match": True}
    assert (served.error, served.failing_since) == (TIMEOUT, failed)
    assert (served.last_served, served.last_seen) == (EPOCH, failed)
    assert tried.due() == [URI]
    assert tried.history(URI) == [(FIRST.der, 0, EPOCH, EPOCH, None)]


def test_failing_on_is_no_change_and_another_error_is(tried: Tried) -> None:
    tried.record(tried.look(URI, FIRST))
    since = tried.clock()
    tried.record(tried.look(URI, error=TIMEOUT))
    assert tried.record(tried.look(URI, error=TIMEOUT)).unchanged == 1
    refused = LookError(kind="refused", message="connection refused")
    assert tried.record(tried.look(URI, error=refused)).changed == 1
    assert tried.served(URI).failing_since == since
    assert tried.served(URI).error == refused


def test_the_first_good_look_ends_the_failure(tried: Tried) -> None:
    tried.record(tried.look(URI, FIRST))
    tried.record(tried.look(URI, error=TIMEOUT))
    tried.settle()
    assert tried.record(tried.look(URI, FIRST)).changed == 1
    assert (tried.served(URI).error, tried.served(URI).failing_since) == (None, None)
    assert len(tried.history(URI)) == 1
    assert tried.due() == [URI]


def test_a_location_may_fail_from_the_beginning(tried: Tried) -> None:
    tried.record(tried.look(URI, error=TIMEOUT, facts={"key_encrypted": True}))
    served = tried.served(URI)
    assert (served.chain, served.leaf, served.last_served) == ((), None, None)
    assert (served.error, served.failing_since) == (TIMEOUT, EPOCH)
    assert served.facts == {"key_encrypted": True}
    assert tried.record(tried.look(URI, error=TIMEOUT, facts={"key_encrypted": True})).unchanged == 1
    tried.record(tried.look(URI, FIRST))
    assert tried.served(URI).leaf is not None


def test_an_error_beside_a_chain_is_not_a_failed_look(tried: Tried) -> None:
    broken = LookError(kind="malformed", message="block 2 of 3 is truncated")
    tried.record(tried.look(URI, FIRST, error=broken))
    served = tried.served(URI)
    assert (served.error, served.failing_since, served.last_served) == (broken, None, EPOCH)


def test_nothing_seen_without_a_reason_is_an_error_all_the_same(tried: Tried) -> None:
    tried.record(tried.look(URI))
    error = tried.served(URI).error
    assert error is not None
    assert error.kind == "no-certificate"


def test_recording_twice_is_recording_once(tried: Tried) -> None:
    looks = [tried.look(URI, FIRST), tried.look(OTHER, error=TIMEOUT)]
    scan = tried.writer.begin_scan("edge", tried.clock())
    tried.writer.record(scan, looks, {})
    before = tried.served(URI), tried.served(OTHER), tried.history(URI), tried.reader.due(tried.clock(), 10)
    assert tried.writer.record(scan, looks, {}).unchanged == 2
    assert before == (
        tried.served(URI),
        tried.served(OTHER),
        tried.history(URI),
        tried.reader.due(tried.clock(), 10),
    )
    finished = tried.writer.finish_scan(scan, [], tried.clock())
    assert (finished.observations, finished.errors) == (2, 1)


def test_one_certificate_at_many_locations_is_kept_once(tried: Tried) -> None:
    looks = [tried.look(f"tls://203.0.113.{n}:443/", FIRST) for n in range(1, 6)]
    assert tried.record(*looks).new_certificates == 1
    assert tried.reader.counts().certificates == 1
    (entry,) = tried.reader.certificate(sha256_hex(FIRST.der), tried.clock())
    assert entry.locations == len(entry.places) == 5


def test_a_location_met_twice_in_one_batch_shows_the_second(tried: Tried) -> None:
    later = tried.clock() + timedelta(seconds=1)
    tried.record(tried.look(URI, FIRST), tried.look(URI, SECOND, at=later))
    assert [each.der for each in tried.served(URI).chain] == [SECOND.der]
    assert [row[0] for row in tried.history(URI)] == [FIRST.der, SECOND.der]


def test_a_look_that_comes_late_does_not_replace_the_newer_chain_but_takes_its_place_in_history(
    tried: Tried,
) -> None:
    tried.record(tried.look(URI, FIRST))
    changed = tried.clock.advance(minutes=30)
    tried.record(tried.look(URI, THIRD))
    between = EPOCH + timedelta(minutes=10)
    tried.record(tried.look(URI, SECOND, at=between))
    assert [each.der for each in tried.served(URI).chain] == [THIRD.der]
    assert tried.served(URI).last_seen == changed
    assert tried.history(URI) == [
        (FIRST.der, 0, EPOCH, EPOCH, between),
        (SECOND.der, 0, between, between, changed),
        (THIRD.der, 0, changed, changed, None),
    ]


def test_a_chain_that_comes_late_is_taken_if_all_newer_looks_failed(tried: Tried) -> None:
    failed = tried.clock.advance(minutes=30)
    tried.record(tried.look(URI, error=TIMEOUT))
    tried.record(tried.look(URI, FIRST, at=EPOCH), collector="late")
    served = tried.served(URI)
    assert [each.der for each in served.chain] == [FIRST.der]
    assert (served.last_served, served.last_seen) == (EPOCH, failed)
    assert (served.error, served.failing_since, served.first_seen) == (TIMEOUT, failed, EPOCH)


def test_an_error_that_comes_late_is_not_the_present_one(tried: Tried) -> None:
    tried.clock.advance(minutes=30)
    tried.record(tried.look(URI, FIRST))
    tried.record(tried.look(URI, error=TIMEOUT, at=EPOCH))
    assert (tried.served(URI).error, tried.served(URI).failing_since) == (None, None)


def test_what_no_parser_takes_is_kept(tried: Tried) -> None:
    for index, der in enumerate((b"", b"\x30", b"\xff" * 40, FIRST.der[:-7], b"\x30\x82\xff\xff")):
        uri = f"file:///etc/ssl/{index}.pem"
        tried.record(tried.look(uri, der), collector=f"files-{index}")
        leaf = tried.served(uri).leaf
        assert leaf is not None
        assert leaf.der == der
        assert leaf.problems
        assert tried.listed(text=sha256_hex(der)) == [der]


def test_text_from_outside_that_is_not_unicode_is_kept_as_far_as_can_be(tried: Tried) -> None:
    hostile = "\udcff\x00'\";--\u202e"
    tried.record(
        tried.look(
            URI,
            FIRST,
            facts={"aws_note": hostile},
            labels={"name": hostile},
            error=LookError(kind="other", message=hostile),
            scope=hostile,
        )
    )
    served = tried.served(URI)
    kept = "\\udcff\\x00'\";--\u202e"
    assert served.error == LookError(kind="other", message=kept)
    assert (served.facts, served.location.labels) == ({"aws_note": kept}, {"name": kept})


def test_names_of_any_length_are_kept_and_found(tried: Tried) -> None:
    # A database's index has an end: a certificate with such a name must not take a whole scan with it.
    label = "".join(sha256_hex(bytes([number])) for number in range(100))
    der = make_certificate(names=["dns:short.example.com", f"dns:{label}.example.com"]).der
    tried.record(tried.look(URI, der), tried.look(OTHER, SECOND))
    assert der in tried.listed(text="*.example.com")
    assert tried.listed(text=f"{label}.example.com") == [der]


def test_nothing_is_recorded_for_a_scan_that_does_not_run(tried: Tried) -> None:
    ended = tried.scan(tried.look(URI, FIRST))
    for scan in (ended.id, ScanID(4711)):
        with pytest.raises(InventoryError, match=f"scan {scan} is") as refused:
            tried.writer.record(scan, [tried.look(OTHER, SECOND)], {})
        assert refused.value.kind == "other"
    assert tried.reader.counts().locations == 1


def test_a_batch_is_recorded_whole_or_not_at_all(tried: Tried) -> None:
    scan = tried.writer.begin_scan("edge", tried.clock())
    naive = tried.look(OTHER, SECOND, at=EPOCH.replace(tzinfo=None))
    with pytest.raises(TypeError):
        tried.writer.record(scan, [tried.look(URI, FIRST), naive], {})
    assert tried.reader.counts().locations == 0


def test_readers_see_what_was_committed_while_a_stream_is_open(tried: Tried) -> None:
    uris = [f"tls://198.51.100.{n % 250}:{1000 + n}/" for n in range(1, 1202)]
    tried.record(*[tried.look(uri, FIRST) for uri in uris])
    stream = tried.reader.live()
    first = next(stream)
    tried.record(*[tried.look(uri, FIRST) for uri in uris[:-1]])
    rest = [served.location.uri for served in stream]
    assert [first.location.uri, *rest] == uris[:-1]


def sha256_hex(der: bytes) -> str:
    return fingerprint(der).hex()


def test_an_error_where_something_was_only_guessed_makes_no_location_until_a_certificate_was_seen(
    tried: Tried,
) -> None:
    """A scan of 10.0.0.0/16 would otherwise leave 65,536 locations that never answered."""
    refused = LookError(kind="refused", message="refused")
    guess = replace(tried.look(URI, error=refused), guessed=True)
    assert tried.record(guess) == Recorded(
        unchanged=1, changed=0, new_certificates=0, nothing_there={"refused": 1}
    )
    assert tried.reader.counts().locations == 0

    tried.clock.advance(minutes=1)
    tried.record(replace(tried.look(URI, FIRST), guessed=True))
    tried.clock.advance(minutes=1)
    tried.record(replace(tried.look(URI, error=refused), guessed=True))
    served = tried.served(URI)
    assert served.error == refused
    assert served.leaf is not None


def test_a_place_that_shows_facts_and_no_certificate_is_well(tried: Tried) -> None:
    """A CRL, or an OCSP answer."""
    uri = "http://pki.example.com/ca.crl"
    tried.record(tried.look(uri, facts={"crl_number": "1"}))
    tried.clock.advance(hours=1)
    tried.record(tried.look(uri, error=TIMEOUT))
    (served,) = tried.reader.live()
    assert (served.chain, served.facts["crl_number"]) == ((), "1")
    assert served.failing_since == EPOCH + timedelta(hours=1, seconds=1)
    tried.clock.advance(hours=1)
    tried.record(tried.look(uri, facts={"crl_number": "2"}))
    (served,) = tried.reader.live()
    assert (served.facts["crl_number"], served.error, served.failing_since) == ("2", None, None)
    assert tried.reader.check() == []
