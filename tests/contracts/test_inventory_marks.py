"""Every store: marks, written beside the writer, and which places they make due."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certwatch.model.location import LocationURI
from certwatch.model.mark import Mark, MarkID, MarkKind
from certwatch.plugins.testing import Issued, make_ca, make_certificate
from certwatch.x509.der import read
from tests.support.inventories import STORES, Tried, opened

CA = make_ca("Marked CA", key_number=140)
FIRST = make_certificate(issuer=CA, serial_number=1)
SAME_KEY = make_certificate(issuer=CA, serial_number=2)
OTHER = make_certificate(key_number=77)
ONE = LocationURI("tls://203.0.113.1:443/")
TWO = LocationURI("tls://203.0.113.2:443/")
THREE = LocationURI("tls://203.0.113.3:443/")


@pytest.fixture(params=STORES)
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tried]:
    with opened(request.param, tmp_path) as inventory:
        inventory.record(
            inventory.look(ONE, FIRST), inventory.look(TWO, SAME_KEY), inventory.look(THREE, OTHER)
        )
        inventory.settle()
        yield inventory


def made(tried: Tried, kind: MarkKind, about: Issued) -> Mark:
    return tried.store.mark(
        Mark(
            id=MarkID(0),
            kind=kind,
            certificate=read(about.der),
            author="ada",
            reason="laptop stolen",
            created_at=tried.clock(),
        )
    )


def due(tried: Tried) -> set[str]:
    return {each.served.location.uri for each in tried.reader.due(tried.clock(), 100)}


def test_what_was_marked_is_read_again_and_can_be_taken_back(tried: Tried) -> None:
    assert tried.reader.marks_revision() == 0
    first, second = made(tried, "compromised", FIRST), made(tried, "retired", OTHER)
    assert list(tried.reader.marks()) == [second, first]
    assert tried.reader.marks_revision() == 2
    now = tried.clock.advance(hours=1)
    ended = tried.store.end_mark(first.id, now)
    assert ended is not None and ended.ended_at == now
    assert tried.store.end_mark(first.id, tried.clock.advance(hours=1)) == ended
    assert tried.store.end_mark(MarkID(99), now) is None
    assert tried.reader.marks_revision() == 3


def test_a_compromised_key_makes_every_place_of_the_key_due(tried: Tried) -> None:
    assert due(tried) == set()
    mark = made(tried, "compromised", FIRST)
    assert due(tried) == {ONE, TWO}
    tried.settle()
    tried.store.end_mark(mark.id, tried.clock())
    assert due(tried) == {ONE, TWO}


def test_a_compromised_ca_makes_every_place_due_that_it_has_issued_for(tried: Tried) -> None:
    made(tried, "compromised", CA)
    assert due(tried) == {ONE, TWO}


def test_a_retired_certificate_makes_its_own_places_due(tried: Tried) -> None:
    made(tried, "retired", FIRST)
    assert due(tried) == {ONE}


def test_a_mark_outlives_what_it_is_about(tried: Tried) -> None:
    mark = made(tried, "retired", FIRST)
    tried.record(tried.look(ONE, OTHER), tried.look(TWO, OTHER), tried.look(THREE, OTHER))
    tried.settle()
    tried.writer.prune(tried.clock.advance(days=1000))
    assert tried.reader.certificate(read(FIRST.der).fingerprint_sha256.hex(), tried.clock()) == []
    assert list(tried.reader.marks()) == [mark]
    assert tried.reader.check() == []
