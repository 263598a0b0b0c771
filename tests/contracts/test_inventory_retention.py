"""Every store: what is forgotten, and what never is."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from certwatch.inventory.store import FindingQuery, Pruned
from certwatch.model.location import LocationURI
from certwatch.model.observation import Gone
from certwatch.plugins.testing import EPOCH, make_certificate
from tests.support.inventories import STORES, TIMEOUT, Tried, opened, problem

FIRST = make_certificate()
SECOND = make_certificate(not_after=EPOCH + timedelta(days=150))
THIRD = make_certificate(not_after=EPOCH + timedelta(days=240))
URI = "tls://203.0.113.7:443/?sni=www.example.com"
OTHER = "tls://203.0.113.8:443/"
NOTHING = Pruned(sightings=0, findings=0, scans=0, locations=0, certificates=0)


@pytest.fixture(params=STORES)
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tried]:
    with opened(request.param, tmp_path) as inventory:
        yield inventory


def prune(tried: Tried, before: datetime) -> Pruned:
    """Findings as well."""
    return tried.writer.prune(before, findings_before=before)


def test_what_ended_before_is_forgotten_and_what_lasts_stays(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST), tried.look(OTHER, SECOND))
    tried.settle(problem(), uri=URI)
    tried.clock.advance(days=1)
    tried.scan(tried.look(URI, THIRD), tried.look(OTHER, SECOND))
    tried.settle()
    limit = tried.clock.advance(days=400)
    assert prune(tried, limit) == Pruned(sightings=1, findings=1, scans=1, locations=0, certificates=1)
    assert tried.listed() == [SECOND.der, THIRD.der]
    assert [row[0] for row in tried.history(URI)] == [THIRD.der]
    assert list(tried.reader.findings(FindingQuery(all=True))) == []
    assert len(tried.reader.last_scans()) == 1
    assert tried.reader.check() == []
    assert prune(tried, limit) == NOTHING


def test_findings_are_kept_and_their_places_unless_somebody_says_how_long(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST), tried.look(OTHER, SECOND))
    tried.settle(problem(), uri=URI)
    tried.settle(uri=OTHER)
    tried.scan()
    tried.settle(uri=URI)
    tried.settle(uri=OTHER)
    limit = tried.clock.advance(days=4000)
    pruned = tried.writer.prune(limit)
    assert (pruned.findings, pruned.locations, pruned.certificates) == (0, 1, 1), (
        "what its place showed last stays"
    )
    (kept,) = tried.reader.findings(FindingQuery(all=True))
    assert (kept.location, kept.resolved_at is None) == (URI, False)
    assert tried.reader.check() == []
    assert tried.writer.prune(limit, findings_before=limit).findings == 1
    assert tried.reader.served(LocationURI(URI)) is None


def test_what_ended_after_the_limit_stays(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST))
    tried.settle(problem())
    limit = tried.clock()
    tried.clock.advance(seconds=1)
    tried.scan(tried.look(URI, SECOND))
    tried.settle()
    assert prune(tried, limit - timedelta(seconds=1)) == NOTHING


def test_a_certificate_served_elsewhere_stays(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST), tried.look(OTHER, FIRST))
    tried.scan(tried.look(URI, SECOND), tried.look(OTHER, FIRST))
    assert prune(tried, tried.clock.advance(days=400)).certificates == 0


def test_a_retired_location_goes_once_the_rules_have_seen_it(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST))
    tried.settle(problem())
    tried.scan()
    limit = tried.clock.advance(days=400)
    assert prune(tried, limit).locations == 0, "not judged since"
    tried.settle()
    assert prune(tried, limit).locations == 0, "its finding was resolved just now"
    assert prune(tried, tried.clock.advance(days=1)) == Pruned(
        sightings=0, findings=1, scans=0, locations=1, certificates=1
    )
    assert tried.reader.served(LocationURI(URI)) is None
    assert tried.reader.counts().certificates == 0


def test_a_pruned_location_comes_back_as_a_new_one(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST))
    former = tried.served(URI).id
    tried.scan()
    tried.settle()
    prune(tried, tried.clock.advance(days=400))
    tried.scan(tried.look(URI, FIRST))
    assert tried.served(URI).id != former
    assert [each.der for each in tried.served(URI).chain] == [FIRST.der]
    assert tried.due() == [URI]


def test_what_a_failing_location_showed_last_stays(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST))
    tried.scan()
    tried.scan(tried.look(URI, error=TIMEOUT))
    tried.settle()
    assert prune(tried, tried.clock.advance(days=400)).sightings == 0
    assert tried.listed() == [FIRST.der]


@pytest.mark.parametrize("first", ["prune", "gone"])
def test_what_a_watch_saw_go_and_what_is_forgotten_do_not_get_in_each_others_way(
    tried: Tried, first: str
) -> None:
    # Both kept their lists in one temporary table of different columns: after a watch had once said that something is
    # gone, that writer could never prune again, and the reverse.
    tried.scan(tried.look(URI, FIRST), tried.look(OTHER, SECOND))
    if first == "prune":
        prune(tried, tried.clock())
    now = tried.clock.advance(seconds=1)
    gone = [Gone(location=LocationURI(URI), observed_at=now)]
    assert tried.writer.record_changes("edge", [], {}, gone, now).changed == 1
    assert [each.location.uri for each in tried.reader.live()] == [OTHER]
    tried.settle()
    assert prune(tried, tried.clock.advance(days=400)).locations == 1
    assert [each.location.uri for each in tried.reader.live()] == [OTHER]
