"""Every store: which other places have the same key, and what nobody serves any more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certwatch.inventory.store import Due
from certwatch.plugins.testing import make_certificate
from tests.support.inventories import STORES, Tried, opened

ONE = make_certificate(names=("dns:www.example.com",), key_number=1)
SAME_KEY = make_certificate(names=("dns:api.example.com",), key_number=1)
OTHER = make_certificate(names=("dns:www.example.com",), key_number=2)
HERE, THERE, FILE = "tls://203.0.113.7:443/", "tls://203.0.113.8:443/", "file:///etc/ssl/site.pem"


@pytest.fixture(params=STORES)
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tried]:
    with opened(request.param, tmp_path) as inventory:
        yield inventory


def due(tried: Tried) -> dict[str, Due]:
    return {each.served.location.uri: each for each in tried.reader.due(tried.clock(), 100)}


def test_places_with_the_same_key_know_of_one_another_with_labels_and_certificate(tried: Tried) -> None:
    tried.record(
        tried.look(HERE, ONE, labels={"environment": "prod"}),
        tried.look(THERE, SAME_KEY, labels={"environment": "test"}),
        tried.look(FILE, OTHER),
    )
    found = due(tried)
    (sharer,) = found[HERE].sharers
    assert (sharer.location.uri, sharer.location.labels) == (THERE, {"environment": "test"})
    assert sharer.certificate.der == SAME_KEY.der
    assert [each.location.uri for each in found[THERE].sharers] == [HERE]
    assert found[FILE].sharers == ()


def test_who_has_turned_to_another_key_or_is_gone_shares_no_more(tried: Tried) -> None:
    tried.record(tried.look(HERE, ONE), tried.look(THERE, ONE), tried.look(FILE, ONE))
    assert [each.location.uri for each in due(tried)[HERE].sharers] == [THERE, FILE]
    tried.record(tried.look(HERE, ONE), tried.look(THERE, OTHER))
    assert due(tried)[HERE].sharers == ()


def test_an_authority_is_expected_at_many_places(tried: Tried) -> None:
    ca = make_certificate(is_ca=True)
    tried.record(tried.look(HERE, ca), tried.look(THERE, ca))
    assert due(tried)[HERE].sharers == ()


def test_what_lies_in_a_file_knows_since_when_no_endpoint_serves_it(tried: Tried) -> None:
    both = (tried.look(HERE, ONE), tried.look(THERE, ONE))
    tried.record(*both, tried.look(FILE, ONE))
    assert due(tried)[FILE].withdrawn_at is None
    tried.clock.advance(hours=1)
    tried.record(tried.look(HERE, OTHER), tried.look(THERE, ONE), tried.look(FILE, ONE))
    assert due(tried)[FILE].withdrawn_at is None
    last = tried.clock.advance(hours=1)
    tried.record(tried.look(HERE, OTHER), tried.look(THERE, OTHER), tried.look(FILE, ONE))
    assert due(tried)[FILE].withdrawn_at == last
    # It is said of where it lies, not of where it is served.
    assert due(tried)[THERE].withdrawn_at is None


def test_what_was_never_served_was_not_withdrawn(tried: Tried) -> None:
    tried.record(tried.look(HERE, OTHER), tried.look(FILE, ONE))
    assert due(tried)[FILE].withdrawn_at is None
