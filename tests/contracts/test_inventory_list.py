"""Every store: what `list` and `show` find."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from certwatch.inventory import query, store
from certwatch.inventory.store import Query
from certwatch.model.certificate import Fingerprint
from certwatch.plugins.testing import EPOCH, Issued, make_ca, make_certificate
from tests.support.inventories import STORES, TIMEOUT, Tried, fingerprint, opened

ROOT = make_ca("Example Root")
CORP = make_ca("Corp Issuing CA", issuer=ROOT, key_number=101)
EXPIRED = make_certificate(
    names=("dns:old.example.com",), issuer=ROOT, not_after=EPOCH - timedelta(days=1), serial_number=0x0A1F
)
WILD = make_certificate(
    names=("dns:*.example.com", "dns:example.com"), issuer=CORP, not_after=EPOCH + timedelta(days=10)
)
DEEP = make_certificate(
    names=("dns:a.b.example.com",), issuer=CORP, not_after=EPOCH + timedelta(days=20), not_before=EPOCH
)
FOREIGN = make_certificate(
    names=("dns:www.notexample.com", "ip:192.0.2.7", "ip:2001:db8::7", "uri:spiffe://prod/web"),
    subject="Payments Gateway",
    issuer=ROOT,
    not_after=EPOCH + timedelta(days=30),
)
ALL = [EXPIRED, WILD, DEEP, FOREIGN]


@pytest.fixture(params=STORES)
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tried]:
    with opened(request.param, tmp_path) as inventory:
        inventory.record(
            inventory.look("tls://203.0.113.1:443/", EXPIRED),
            inventory.look("tls://203.0.113.2:443/", WILD),
            inventory.look("tls://203.0.113.20:443/", WILD),
            labels={"team": "edge"},
        )
        inventory.record(
            inventory.look("file:///etc/ssl/deep.pem", DEEP),
            inventory.look("file:///etc/ssl/foreign.pem", FOREIGN),
            collector="hosts",
        )
        inventory.settle(uri="file:///etc/ssl/deep.pem", owner="payments")
        yield inventory


def ders(*issued: Issued) -> list[bytes]:
    return [each.der for each in issued]


def test_everything_is_listed_soonest_expiry_first(tried: Tried) -> None:
    assert tried.listed() == ders(*ALL)


@pytest.mark.parametrize(
    "text, found",
    [
        ("old.example.com", [EXPIRED]),
        ("OLD.Example.COM", [EXPIRED]),
        ("dns:old.example.com", [EXPIRED]),
        ("example.com", [WILD]),
        ("*.example.com", [EXPIRED, WILD, DEEP]),
        ("*.b.example.com", [DEEP]),
        ("*.com", ALL),
        ("*.nothing.example", []),
        ("a.b.example", [DEEP]),  # no such name: a part of the subject "CN=a.b.example.com"
        ("192.0.2.7", [FOREIGN]),
        ("2001:DB8:0::7", [FOREIGN]),
        ("ip:2001:db8::7", [FOREIGN]),
        ("spiffe://prod/web", [FOREIGN]),
        ("payments g", [FOREIGN]),
        ("CN=old", [EXPIRED]),
        ("0a1f", [EXPIRED]),
        ("A1:F", [EXPIRED]),
        ("00:0a:1f", [EXPIRED]),
        (fingerprint(WILD.der).hex(), [WILD]),
        (fingerprint(WILD.der).hex()[:9].upper(), [WILD]),
        ("tls://203.0.113.2", [WILD]),
        ("tls://203.0.113.1:443/", [EXPIRED]),
        ("file:///etc/ssl/", [DEEP, FOREIGN]),
        ("nothing", []),
        ("no.such.name", []),
        ("'; DROP TABLE names; --", []),
        ("%", []),
        ("_", []),
        ("", ALL),
        ("*.", []),
    ],
)
def test_a_text_finds(tried: Tried, text: str, found: list[Issued]) -> None:
    assert tried.listed(text=text) == ders(*found)


def test_conditions_must_all_hold(tried: Tried) -> None:
    now = tried.clock()
    assert tried.listed(expired_at=now) == ders(EXPIRED)
    assert tried.listed(expires_before=now + timedelta(days=15)) == ders(EXPIRED, WILD)
    assert tried.listed(expires_after=now, expires_before=now + timedelta(days=15)) == ders(WILD)
    assert tried.listed(owner="payments") == ders(DEEP)
    assert tried.listed(collector="hosts") == ders(DEEP, FOREIGN)
    assert tried.listed(issuer="corp issuing") == ders(WILD, DEEP)
    assert tried.listed(collector="hosts", issuer="ROOT") == ders(FOREIGN)
    assert tried.listed(text="*.example.com", issuer="corp", owner="payments") == ders(DEEP)
    assert tried.listed(owner="nobody") == []


def test_order_is_as_asked(tried: Tried) -> None:
    assert tried.listed(descending=True) == ders(FOREIGN, DEEP, WILD, EXPIRED)
    assert tried.listed(sort="not_before")[-1] == DEEP.der
    assert tried.listed(sort="subject") == ders(WILD, DEEP, EXPIRED, FOREIGN)
    assert tried.listed(sort="issuer") == ders(WILD, DEEP, EXPIRED, FOREIGN)
    assert tried.listed(sort="first_seen")[:2] == ders(EXPIRED, WILD)
    assert tried.listed(sort="locations", descending=True)[0] == WILD.der


def test_a_limit_counts_what_passes_the_last_filter(tried: Tried) -> None:
    assert tried.listed(limit=2) == ders(EXPIRED, WILD)
    assert tried.listed(limit=0) == []
    last = Query(limit=1, where=lambda entry: entry.certificate.der == FOREIGN.der)
    assert [each.certificate.der for each in tried.reader.list(last, tried.clock())] == ders(FOREIGN)


def test_an_entry_says_where_it_is_and_in_what_state(tried: Tried) -> None:
    (entry,) = tried.reader.list(Query(text="example.com"), tried.clock())
    assert (entry.validity, entry.presence, entry.locations) == ("valid", "served", 2)
    assert [place.location for place in entry.places] == ["tls://203.0.113.20:443/", "tls://203.0.113.2:443/"]
    place = entry.places[0]
    assert (place.position, place.collectors, place.labels) == (0, ("edge",), {"team": "edge"})
    assert (entry.first_seen, entry.last_seen, place.ended_at) == (EPOCH, EPOCH, None)
    (expired,) = tried.reader.list(Query(text="old.example.com"), tried.clock())
    assert expired.validity == "expired"


def test_live_places_come_first(tried: Tried) -> None:
    renewed = make_certificate(names=("dns:new.example.com",))
    tried.record(
        tried.look("tls://203.0.113.1:443/", EXPIRED),
        tried.look("tls://203.0.113.2:443/", renewed),
        tried.look("tls://203.0.113.20:443/", error=TIMEOUT),
    )
    (entry,) = tried.reader.list(Query(text="example.com"), tried.clock())
    assert [(place.location, place.ended_at is None) for place in entry.places] == [
        ("tls://203.0.113.20:443/", True),
        ("tls://203.0.113.2:443/", False),
    ]
    assert entry.places[0].error == TIMEOUT
    assert entry.presence == "served"


def test_what_was_served_at_an_instant(tried: Tried) -> None:
    before = tried.clock()
    renewed = make_certificate(names=("dns:old.example.com",), not_after=EPOCH + timedelta(days=90))
    tried.clock.advance(days=2)
    tried.scan(
        tried.look("tls://203.0.113.1:443/", renewed),
        tried.look("tls://203.0.113.2:443/", WILD),
        tried.look("tls://203.0.113.20:443/", WILD),
    )
    assert tried.listed(text="old.example.com") == ders(EXPIRED, renewed)
    assert tried.listed(text="old.example.com", at=before) == ders(EXPIRED)
    assert tried.listed(text="old.example.com", at=tried.clock()) == ders(renewed)
    assert tried.listed(at=EPOCH - timedelta(days=1)) == []
    (entry,) = tried.reader.list(Query(text="old.example.com", at=before), tried.clock())
    assert (entry.presence, len(entry.places)) == ("served", 1)


def test_show_finds_by_the_beginning_of_the_fingerprint(tried: Tried) -> None:
    whole = fingerprint(DEEP.der).hex()
    for prefix in (whole, whole[:7], whole.upper()[:12], ":".join((whole[:2], whole[2:4], whole[4:6]))):
        assert DEEP.der in [
            entry.certificate.der for entry in tried.reader.certificate(prefix, tried.clock())
        ]
    for nonsense in ("", "xyz", whole + "00", "*"):
        assert tried.reader.certificate(nonsense, tried.clock()) == []


def test_a_certificate_that_is_everywhere_names_some_places_and_counts_all(tried: Tried) -> None:
    everywhere = [f"tls://198.51.100.{n % 250}:{1000 + n}/" for n in range(store.MAX_PLACES + 5)]
    tried.record(*[tried.look(uri, CORP) for uri in everywhere], collector="wide")
    tried.record(*[tried.look(uri, CORP) for uri in everywhere[3:]], collector="wide")
    (entry,) = tried.reader.certificate(fingerprint(CORP.der).hex(), tried.clock())
    assert (entry.locations, len(entry.places)) == (store.MAX_PLACES + 5, store.MAX_PLACES)
    assert {place.ended_at for place in entry.places} == {None}
    assert entry.presence == "served"


@pytest.mark.parametrize("few", [0, 1, 5_000])
@pytest.mark.parametrize("steps", [(1,), (1, 1, 2), (100,)])
def test_whichever_way_it_is_found_a_page_is_the_beginning_of_the_list(
    tried: Tried, monkeypatch: pytest.MonkeyPatch, few: int, steps: tuple[int, ...]
) -> None:
    """What many certificates meet is found by walking them in order, what few meet is looked up."""
    monkeypatch.setattr(query, "FEW", few)
    monkeypatch.setattr(query, "STEPS", steps)
    for asked in (
        Query(text="*.example.com"),
        Query(text="example"),
        Query(text="tls://"),
        Query(text="0a1f"),
        Query(text=fingerprint(WILD.der).hex()[:9]),
        Query(text="*.com", owner="payments"),
        Query(owner="payments"),
        Query(collector="edge"),
        Query(collector="hosts", issuer="root"),
        Query(issuer="root"),
        Query(issuer="no such"),
        Query(at=EPOCH),
        Query(at=EPOCH - timedelta(days=1)),
        Query(at=EPOCH, collector="edge", text="*.com", expires_after=EPOCH),
        Query(expires_before=EPOCH + timedelta(days=25), collector="hosts"),
    ):
        for descending in (False, True):
            whole = tried.answer(replace(asked, descending=descending))
            for limit in range(1, 5):
                page = replace(asked, descending=descending, limit=limit)
                assert tried.answer(page) == whole[:limit]
                if len(whole) > limit:
                    after = Fingerprint(sha256(whole[limit - 1]).digest())
                    assert tried.answer(replace(page, after=after)) == whole[limit : 2 * limit]


def test_many_entries_stream_in_order(tried: Tried) -> None:
    issued = [make_certificate(names=(f"dns:h{n}.many.example",), serial_number=n + 1) for n in range(250)]
    tried.record(
        *[tried.look(f"tls://198.51.100.1:{n}/", each) for n, each in enumerate(issued)], collector="m"
    )
    listed = [
        entry.certificate.serial_number for entry in tried.reader.list(Query(text="*.many.example"), EPOCH)
    ]
    assert listed == list(range(1, 251))


def test_the_inventory_counts(tried: Tried) -> None:
    counts = tried.reader.counts()
    assert (counts.certificates, counts.locations, counts.open_findings) == (4, 5, {})
