"""Every store: silences, written beside the writer, and what they do to findings."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.inventory.store import FindingQuery, Judgement
from certwatch.model.location import LocationURI
from certwatch.model.silence import Matter, Silence, SilenceID
from certwatch.plugins.testing import make_certificate
from tests.support.inventories import STORES, Tried, fingerprint, opened, problem

FIRST = make_certificate()
URI = LocationURI("tls://203.0.113.7:443/?sni=www.example.com")
OTHER = LocationURI("tls://203.0.113.8:443/")


@pytest.fixture(params=STORES)
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tried]:
    with opened(request.param, tmp_path) as inventory:
        inventory.record(inventory.look(OTHER, FIRST), inventory.look(URI, FIRST))
        inventory.settle()
        yield inventory


def renew(tried: Tried) -> None:
    """At URI, so that it must be judged."""
    tried.record(tried.look(URI, make_certificate()), tried.look(OTHER, FIRST))


def made(tried: Tried, covers: Matter | str = "true", hours: float = 24) -> Silence:
    now = tried.clock()
    return tried.store.silence(
        Silence(
            id=SilenceID(0),
            covers=covers,
            until=now + timedelta(hours=hours),
            author="ada",
            reason="moves on Friday",
            created_at=now,
        )
    )


def test_one_that_was_added_can_be_read(tried: Tried) -> None:
    matter = Matter(rule="expiry", location=URI, fingerprint=fingerprint(FIRST.der))
    first, second = made(tried, matter), made(tried, 'finding.rule == "names"')
    assert first.id != second.id
    assert list(tried.reader.silences()) == [second, first]
    assert list(tried.reader.silences(tried.clock())) == [second, first]


def test_what_is_over_holds_no_more(tried: Tried) -> None:
    short = made(tried, hours=1)
    tried.clock.advance(hours=1)
    assert list(tried.reader.silences(tried.clock())) == []
    assert list(tried.reader.silences()) == [short]
    # Nothing to end.
    assert tried.store.end_silence(short.id, tried.clock()) == short


def test_one_that_is_ended_holds_no_more(tried: Tried) -> None:
    silence = made(tried)
    ended = tried.store.end_silence(silence.id, tried.clock.advance(hours=1))
    assert ended == replace(silence, ended_at=tried.clock())
    assert list(tried.reader.silences(tried.clock())) == []
    assert tried.store.end_silence(SilenceID(4711), tried.clock()) is None


def test_each_change_has_a_revision_of_its_own(tried: Tried) -> None:
    seen = [tried.reader.silences_revision()]
    silence = made(tried)
    seen.append(tried.reader.silences_revision())
    tried.store.end_silence(silence.id, tried.clock())
    seen.append(tried.reader.silences_revision())
    tried.store.end_silence(silence.id, tried.clock())
    assert seen == sorted(set(seen))
    assert tried.reader.silences_revision() == seen[-1]


def test_what_a_silence_may_cover_becomes_due_with_it_and_when_it_ends(tried: Tried) -> None:
    renew(tried)
    tried.settle(problem(), uri=URI)
    tried.settle()
    assert tried.due() == []
    # A condition: wherever something is wrong; at the other nothing is.
    every = made(tried, "true")
    assert tried.due() == [URI]
    tried.settle(replace(problem(), silence=every), uri=URI)
    assert tried.due() == []
    # One matter: its place alone, whatever is known there.
    made(tried, Matter(rule="expiry", location=OTHER, fingerprint=None))
    assert tried.due() == [OTHER]
    tried.settle()
    tried.store.end_silence(every.id, tried.clock())
    assert tried.due() == [URI]


def test_a_judgement_on_its_way_does_not_settle_what_was_silenced_since(tried: Tried) -> None:
    renew(tried)
    (due,) = [each for each in tried.reader.due(tried.clock(), 10) if each.served.location.uri == URI]
    tried.settle(problem(), uri=URI)
    made(tried)
    old = Judgement(
        location_id=due.served.id, revision=due.revision, owner="", problems=(problem(),), due_at=None
    )
    tried.writer.settle([old], tried.clock())
    assert URI in tried.due()


def test_a_silenced_finding_is_open_and_counted_apart(tried: Tried) -> None:
    silence = made(tried)
    renew(tried)
    (finding,) = tried.settle(replace(problem(), silence=silence), uri=URI).opened
    assert (finding.silence, finding.is_told) == (silence, False)
    assert list(tried.reader.open_findings()) == [finding]
    assert tried.reader.finding(finding.id) == finding
    assert list(tried.reader.findings(FindingQuery(silenced=False))) == []
    counts = tried.reader.counts()
    assert (counts.open_findings, counts.silenced) == ({}, 1)
    assert list(tried.reader.count_by_owner()) == []
    assert tried.reader.check() == []


def test_silence_comes_and_goes_as_an_alteration(tried: Tried) -> None:
    renew(tried)
    (finding,) = tried.settle(problem(), uri=URI).opened
    silence = made(tried)
    assert tried.settle(replace(problem(), silence=silence), uri=URI).altered == (
        replace(finding, silence=silence),
    )
    tried.store.end_silence(silence.id, tried.clock())
    assert tried.settle(problem(), uri=URI).altered == (finding,)


def test_it_is_forgotten_when_it_covers_nothing_any_more(tried: Tried) -> None:
    over, holding = made(tried, hours=1), made(tried, hours=24 * 60)
    renew(tried)
    tried.settle(replace(problem(), silence=over), uri=URI)
    tried.clock.advance(days=30)
    tried.writer.prune(tried.clock())
    assert list(tried.reader.silences()) == [holding, over]
    tried.record(tried.look(URI, FIRST), tried.look(OTHER, FIRST))
    tried.settle()
    tried.clock.advance(days=1)
    tried.writer.prune(tried.clock(), findings_before=tried.clock())
    assert list(tried.reader.silences()) == [holding]


def test_findings_are_filtered_with_what_is_known_of_their_place(tried: Tried) -> None:
    tried.record(tried.look(URI, make_certificate()), tried.look(OTHER, make_certificate()))
    tried.settle(problem())
    asked: list[str] = []

    def where(finding: object, served: object) -> bool:
        asked.append(served.location.uri)  # type: ignore[attr-defined]
        return bool(asked[-1] == OTHER)

    found = list(tried.reader.findings(FindingQuery(where=where, limit=1)))
    assert [each.location for each in found] == [OTHER]
    assert set(asked) <= {URI, OTHER}
