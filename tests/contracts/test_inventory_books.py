"""Every store: whether what is met somewhere stands in the books of the CA that it names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certwatch.model.books import Books
from certwatch.model.observation import Observation
from certwatch.plugins.testing import EPOCH, Issued, make_ca, make_certificate
from certwatch.x509.der import read
from collectors.ca_database.skim import issuer_tag
from tests.support.inventories import STORES, Tried, opened

OURS = make_ca("Corp CA", key_number=31)
THEIRS = make_ca("Forgotten CA", key_number=32)
TAG = issuer_tag(read(OURS.der).subject_der or b"")
DATABASE = "ca-database://corp"
SITE = "tls://203.0.113.7:443/"


@pytest.fixture(params=STORES)
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tried]:
    with opened(request.param, tmp_path) as inventory:
        yield inventory


def issued(serial: int, by: Issued = OURS) -> Issued:
    return make_certificate(issuer=by, serial_number=serial, names=("dns:www.example.com",))


def database(tried: Tried, uri: str = DATABASE) -> Observation:
    facts = {"ca_issuers": TAG, "ca_full_read_at": "2026-11-01T10:00:00Z"}
    return tried.look(uri, OURS, facts=facts)


def books(tried: Tried, uri: str = SITE) -> Books | None:
    return {str(each.served.location.uri): each.books for each in tried.reader.due(tried.clock(), 100)}[uri]


@pytest.mark.parametrize("place", ["cadb://corp/0a", f"cadb://corp/0a?ca={TAG}"])
def test_what_stands_in_the_books_is_known_by_them(tried: Tried, place: str) -> None:
    leaf = issued(0x0A)
    tried.record(database(tried), tried.look(place, leaf), tried.look(SITE, leaf))
    found = books(tried)
    assert found is not None
    assert (found.databases, found.recorded) == ((DATABASE,), True)
    assert found.read_at == EPOCH.replace(hour=10)


def test_another_certificate_with_that_number_is_not_the_one_in_the_books(tried: Tried) -> None:
    one, another = issued(0x0A), issued(0x0A)
    tried.record(database(tried), tried.look("cadb://corp/0a", one), tried.look(SITE, another))
    found = books(tried)
    assert found is not None
    assert not found.recorded
    short = read(another.der).fingerprint_sha256[:8].hex()
    tried.record(tried.look(f"cadb://corp/0a#{short}", another), collector="again")
    found = books(tried)
    assert found is not None
    assert found.recorded


def test_books_without_certificates_are_asked_by_number(tried: Tried) -> None:
    tried.record(
        database(tried),
        tried.look("cadb://corp/0a", facts={"ca_status": "issued", "ca_serial": "0a"}),
        tried.look(SITE, issued(0x0A)),
    )
    found = books(tried)
    assert found is not None
    assert found.recorded


def test_a_ca_without_books_and_an_inventory_without_any(tried: Tried) -> None:
    leaf = issued(0x0A, THEIRS)
    tried.record(tried.look(SITE, leaf))
    assert books(tried) is None
    tried.record(database(tried), collector="corp")
    found = books(tried)
    assert found is not None
    assert (found.databases, found.recorded, found.read_at) == ((), False, None)
    # A CA itself, and what is in the books, are not asked about.
    more = tried.look("file:///etc/ssl/ca.pem", OURS), tried.look("cadb://corp/0b", issued(0x0B))
    tried.record(*more, collector="more")
    assert books(tried, "file:///etc/ssl/ca.pem") is None
    assert books(tried, "cadb://corp/0b") is None
