"""Every store: which certificates the linter has to see, and what it found."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certwatch.model.lint import Lint
from certwatch.plugins.testing import make_certificate
from tests.support.inventories import STORES, Tried, fingerprint, opened

FIRST, SECOND = make_certificate(), make_certificate(key_number=2)
HERE, THERE = "tls://203.0.113.7:443/", "tls://203.0.113.8:443/"
WRONG = Lint(profile="rfc5280", severity="error", code="pkix.wrong", message="so wrong")


@pytest.fixture(params=STORES)
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tried]:
    with opened(request.param, tmp_path) as inventory:
        inventory.record(inventory.look(HERE, FIRST), inventory.look(THERE, SECOND))
        inventory.settle()
        yield inventory


def ids(tried: Tried, limit: int = 10, linter: str = "one") -> list[int]:
    return [each.id for each in tried.reader.unlinted(limit, linter=linter)]


def test_each_certificate_is_linted_once(tried: Tried) -> None:
    first, second = tried.reader.unlinted(10, linter="one")
    assert {first.der, second.der} == {FIRST.der, SECOND.der}
    assert ids(tried, 1) == [first.id]
    tried.writer.record_lints([], through=first.id, linter="one")
    assert ids(tried) == [second.id]
    tried.writer.record_lints([], through=second.id, linter="one")
    assert ids(tried) == []
    tried.record(tried.look(HERE, make_certificate(key_number=3)), tried.look(THERE, SECOND))
    assert len(ids(tried)) == 1


def test_another_linter_begins_anew_and_what_it_does_not_find_is_no_more(tried: Tried) -> None:
    first, second = ids(tried)
    tried.writer.record_lints([(first, [WRONG])], through=second, linter="one")
    tried.settle()
    assert ids(tried, linter="two") == [first, second]
    tried.writer.record_lints([], through=first, linter="two")
    # Judged anew, by what is left.
    (due,) = tried.reader.due(tried.clock(), 10)
    assert due.lints == {}
    assert ids(tried, linter="two") == [second]


def test_what_was_found_makes_its_places_due_and_comes_with_them(tried: Tried) -> None:
    assert tried.due() == []
    wrong = next(each.id for each in tried.reader.unlinted(10, linter="one") if each.der == FIRST.der)
    tried.writer.record_lints([(wrong, [WRONG, WRONG])], through=max(ids(tried)), linter="one")
    (due,) = tried.reader.due(tried.clock(), 10)
    assert due.served.location.uri == HERE
    assert due.lints == {fingerprint(FIRST.der): (WRONG, WRONG)}
    assert not due.changed
    assert tried.reader.check() == []


def test_lints_of_what_was_forgotten_meanwhile_are_not_kept(tried: Tried) -> None:
    tried.writer.record_lints([(4711, [WRONG])], through=4711, linter="one")
    assert tried.reader.check() == []
    assert tried.due() == []


def test_they_are_forgotten_with_their_certificate(tried: Tried) -> None:
    tried.writer.record_lints([(each, [WRONG]) for each in ids(tried)], through=max(ids(tried)), linter="one")
    tried.record()
    tried.settle()
    tried.clock.advance(days=1)
    assert tried.writer.prune(tried.clock()).certificates == 2
    assert tried.reader.check() == []
