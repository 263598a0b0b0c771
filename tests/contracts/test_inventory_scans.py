"""Every store: scans end, locations retire and come back, clocks jump."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from certwatch.inventory.store import InventoryError
from certwatch.model.location import LocationURI
from certwatch.model.observation import Incomplete, LookError, ScanID
from certwatch.plugins.testing import EPOCH, FakeClock, make_certificate
from tests.support.inventories import STORES, TIMEOUT, Tried, fingerprint, opened, problem

FIRST = make_certificate()
SECOND = make_certificate(not_after=EPOCH + timedelta(days=150))
URI = "tls://203.0.113.7:443/?sni=www.example.com"
OTHER = "tls://203.0.113.8:443/"
DENIED = LookError(kind="permission", message="prod: cannot list secrets. Grant list on secrets")


@pytest.fixture(params=STORES)
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tried]:
    with opened(request.param, tmp_path) as inventory:
        yield inventory


def test_a_complete_scan_says_so(tried: Tried) -> None:
    scan = tried.scan(tried.look(URI, FIRST), tried.look(OTHER, error=TIMEOUT))
    assert (scan.status, scan.error, scan.collector) == ("complete", None, "edge")
    assert (scan.observations, scan.errors) == (2, 1)
    assert (scan.started_at, scan.finished_at) == (EPOCH, EPOCH + timedelta(seconds=1))
    assert tried.reader.last_scans() == [scan]


def test_a_complete_scan_retires_what_it_no_longer_sees(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST), tried.look(OTHER, SECOND))
    tried.settle()
    tried.clock.advance(hours=1)
    tried.scan(tried.look(OTHER, SECOND))
    served = tried.served(URI)
    assert served.retired_at == tried.clock()
    assert served.collectors == ()
    assert [each.der for each in served.chain] == [FIRST.der]
    assert tried.history(URI) == [(FIRST.der, 0, EPOCH, EPOCH, tried.clock())]
    assert [each.location.uri for each in tried.reader.live()] == [OTHER]
    (entry,) = tried.reader.certificate(fingerprint(FIRST.der).hex(), tried.clock())
    assert entry.presence == "retired"


def test_what_retires_must_be_judged_and_keeps_its_labels(tried: Tried) -> None:
    tried.record(tried.look(URI, FIRST), labels={"team": "edge"})
    tried.settle(problem())
    tried.scan()
    (due,) = tried.reader.due(tried.clock(), 10)
    assert due.served.retired_at is not None
    assert due.served.location.labels == {"team": "edge"}
    assert len(tried.settle().resolved) == 1


def test_of_a_scope_that_told_only_what_is_new_nothing_is_retired_and_the_scan_is_complete(
    tried: Tried,
) -> None:
    tried.scan(tried.look(URI, FIRST, scope="records"), tried.look(OTHER, SECOND, scope=""))
    scan = tried.writer.begin_scan("edge", tried.clock.advance(hours=1))
    ended = tried.writer.finish_scan(scan, [], tried.clock(), unchanged={"records"})
    assert ended.status == "complete"
    assert [each.location.uri for each in tried.reader.live()] == [URI]


@pytest.mark.parametrize("incomplete", [(), (Incomplete(scope="", error=DENIED),)])
def test_a_failed_scan_retires_nothing(tried: Tried, incomplete: tuple[Incomplete, ...]) -> None:
    tried.scan(tried.look(URI, FIRST))
    scan = tried.scan(failed=DENIED, incomplete=incomplete)
    assert (scan.status, scan.error) == ("failed", DENIED)
    assert tried.served(URI).retired_at is None


def test_a_partial_scan_retires_only_where_it_was_complete(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST, scope="payments"), tried.look(OTHER, SECOND, scope="web"))
    scan = tried.scan(incomplete=[Incomplete(scope="payments", error=DENIED)])
    assert scan.status == "partial"
    assert scan.error == LookError(kind="permission", message="payments: " + DENIED.message)
    assert tried.served(URI).retired_at is None
    assert tried.served(OTHER).retired_at is not None


def test_a_scan_that_was_incomplete_as_a_whole_retires_nothing(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST, scope="payments"))
    assert tried.scan(incomplete=[Incomplete(scope="", error=DENIED)]).status == "partial"
    assert tried.served(URI).retired_at is None


def test_many_incomplete_scopes_are_told_in_one_line(tried: Tried) -> None:
    scan = tried.scan(incomplete=[Incomplete(scope=f"ns-{n}", error=DENIED) for n in range(500)])
    assert scan.error is not None
    assert scan.error.message.startswith("ns-0: ")
    assert scan.error.message.endswith("; and 497 more")


def test_a_location_stays_while_another_collector_watches_it(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST))
    tried.scan(tried.look(URI, FIRST), collector="inner")
    tried.settle()
    tried.scan()
    assert tried.served(URI).retired_at is None
    assert tried.served(URI).collectors == ("inner",)
    assert tried.due() == [URI], "who watches it has changed"
    tried.scan(collector="inner")
    assert tried.served(URI).retired_at is not None


def test_a_location_that_comes_back_has_its_history(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST))
    tried.scan()
    retired = tried.clock()
    tried.settle()
    back = tried.clock.advance(days=3)
    tried.scan(tried.look(URI, FIRST))
    assert tried.served(URI).retired_at is None
    assert tried.served(URI).first_seen == EPOCH
    assert tried.history(URI) == [(FIRST.der, 0, EPOCH, EPOCH, retired), (FIRST.der, 0, back, back, None)]
    assert tried.due() == [URI]


def test_a_location_may_come_back_failing(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST))
    tried.scan()
    tried.clock.advance(days=3)
    tried.scan(tried.look(URI, error=TIMEOUT))
    served = tried.served(URI)
    assert (served.retired_at, served.error) == (None, TIMEOUT)
    assert [each.der for each in served.chain] == [FIRST.der], "what it showed last"
    assert len(tried.history(URI)) == 1
    tried.scan(tried.look(URI, SECOND))
    assert len(tried.history(URI)) == 2


def test_a_location_seen_by_a_scan_that_ran_while_another_retired_it_was_never_gone(tried: Tried) -> None:
    # Collector "late" looks, collector "edge" finishes without having seen it, then the look of "late" arrives.
    tried.scan(tried.look(URI, FIRST))
    late = tried.writer.begin_scan("late", tried.clock())
    look = tried.look(URI, FIRST)
    tried.clock.advance(minutes=1)
    tried.scan()
    assert tried.served(URI).retired_at is not None
    tried.writer.record(late, [look], {})
    tried.writer.finish_scan(late, [], tried.clock())
    assert tried.served(URI).retired_at is None
    assert tried.history(URI) == [(FIRST.der, 0, EPOCH, look.observed_at, None)]


@pytest.mark.parametrize("error", [None, TIMEOUT], ids=["saw", "failed"])
def test_a_location_that_a_late_look_brings_back_shows_what_it_showed(
    tried: Tried, error: LookError | None
) -> None:
    # A worker's clock is slow, or its batch came late: what it says of this place is older than the last look at it, and
    # by the time it is recorded another collector's scan has retired the place.
    early = tried.clock()
    tried.clock.advance(hours=1)
    tried.scan(tried.look(URI, FIRST))
    tried.clock.advance(hours=1)
    tried.scan()
    assert tried.served(URI).retired_at is not None
    chain = [FIRST] if error is None else []
    tried.scan(tried.look(URI, *chain, at=early, error=error), collector="inner")
    assert tried.served(URI).retired_at is None
    assert tried.listed(text="www.example.com") == [FIRST.der]
    assert [each[4] for each in tried.history(URI)] == [None]
    assert tried.reader.check() == []


def test_a_scan_whose_process_died_has_failed_and_kept_what_it_saw(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST), tried.look(OTHER, FIRST))
    died = tried.writer.begin_scan("edge", tried.clock())
    tried.writer.record(died, [tried.look(URI, SECOND)], {})
    tried.clock.advance(hours=1)
    running = tried.writer.begin_scan("edge", tried.clock())
    (last,) = tried.reader.last_scans()
    assert (last.id, last.status, last.observations) == (died, "failed", 1)
    assert tried.served(OTHER).retired_at is None
    assert [each.der for each in tried.served(URI).chain] == [SECOND.der]
    with pytest.raises(InventoryError):
        tried.writer.record(died, [tried.look(URI, FIRST)], {})
    tried.writer.finish_scan(running, [], tried.clock(), failed=TIMEOUT)


def test_scans_of_two_collectors_run_at_once(tried: Tried) -> None:
    one = tried.writer.begin_scan("one", tried.clock())
    two = tried.writer.begin_scan("two", tried.clock())
    tried.writer.record(one, [tried.look(URI, FIRST)], {})
    tried.writer.record(two, [tried.look(OTHER, FIRST)], {})
    assert tried.writer.finish_scan(two, [], tried.clock()).status == "complete"
    assert tried.writer.finish_scan(one, [], tried.clock()).status == "complete"
    assert {each.retired_at for each in tried.reader.live()} == {None}
    assert [each.collector for each in tried.reader.last_scans()] == ["one", "two"]


def test_finishing_twice_gives_what_the_first_gave(tried: Tried) -> None:
    scan = tried.scan(tried.look(URI, FIRST))
    assert tried.writer.finish_scan(scan.id, [], tried.clock(), failed=TIMEOUT) == scan


def test_an_unknown_scan_cannot_be_finished(tried: Tried) -> None:
    with pytest.raises(InventoryError, match="scan 4711 is unknown"):
        tried.writer.finish_scan(ScanID(4711), [], tried.clock())


def test_collectors_that_are_configured_no_more_stop_watching(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST))
    tried.scan(tried.look(OTHER, FIRST), collector="inner")
    assert tried.writer.abandon_collectors(["edge", "new"], tried.clock()) == 1
    assert tried.served(OTHER).retired_at == tried.clock()
    assert [each.collector for each in tried.reader.last_scans()] == ["edge"]
    assert tried.writer.abandon_collectors(["edge", "new"], tried.clock()) == 0
    tried.scan(tried.look(OTHER, FIRST), collector="inner")
    assert tried.served(OTHER).retired_at is None
    assert [each.collector for each in tried.reader.last_scans()] == ["edge", "inner"]


def test_nothing_more_is_taken_for_a_scan_of_a_collector_that_is_configured_no_more(tried: Tried) -> None:
    # Workers went on with the scan of a collector that a restart had left out: what they saw came to life again, watched by
    # nobody and retired by nobody.
    scan = tried.writer.begin_scan("edge", tried.clock())
    tried.writer.record(scan, [tried.look(URI, FIRST)], {})
    assert tried.writer.abandon_collectors(["inner"], tried.clock.advance(seconds=1)) == 1
    tried.clock.advance(seconds=1)
    with pytest.raises(InventoryError, match="is failed already"):
        tried.writer.record(scan, [tried.look(URI, FIRST), tried.look(OTHER, FIRST)], {})
    assert tried.served(URI).retired_at is not None
    assert tried.reader.served(LocationURI(OTHER)) is None


def test_a_clock_that_goes_back_a_little_lowers_no_instant_and_scans_end(tried: Tried) -> None:
    tried.clock = FakeClock(EPOCH + timedelta(minutes=50))
    tried.scan(tried.look(URI, FIRST), tried.look(OTHER, FIRST))
    before = tried.served(URI).last_seen
    tried.clock.advance(minutes=-40)
    assert tried.scan(tried.look(URI, FIRST)).status == "complete"
    assert tried.served(URI).last_seen == before
    retired_at = tried.served(OTHER).retired_at
    assert retired_at is not None
    assert retired_at >= before
    # It had seen both: nothing was lost, and when the time has passed everything goes on.
    tried.clock.advance(minutes=41)
    tried.scan(tried.look(URI, SECOND))
    assert [each.der for each in tried.served(URI).chain] == [SECOND.der]


@pytest.mark.parametrize("ahead", [timedelta(hours=2), timedelta(days=365 * 70)])
def test_a_clock_that_was_far_ahead_for_a_while_freezes_nothing(tried: Tried, ahead: timedelta) -> None:
    tried.scan(tried.look(URI, FIRST), tried.look(OTHER, FIRST))
    tried.settle()
    tried.clock.now += ahead
    tried.scan(tried.look(URI, SECOND), tried.look(OTHER, error=TIMEOUT))
    tried.settle(problem())
    assert tried.due() == []

    tried.clock = FakeClock(EPOCH + timedelta(minutes=15))
    scan = tried.writer.begin_scan("edge", tried.clock())
    assert sorted(tried.due()) == [URI, OTHER], "what was judged by the wrong clock is judged again"
    for served in tried.reader.live():
        assert served.last_seen <= tried.clock()
    tried.clock.advance(seconds=1)
    tried.writer.record(scan, [tried.look(URI, FIRST), tried.look(OTHER, FIRST)], {})
    tried.writer.finish_scan(scan, [], tried.clock.advance(seconds=1))
    for uri in (URI, OTHER):
        assert [each.der for each in tried.served(uri).chain] == [FIRST.der]
        assert tried.served(uri).error is None
        assert max(row[3] for row in tried.history(uri)) <= tried.clock()
    settled = tried.settle()
    assert len(settled.resolved) == 2
    for finding in settled.resolved:
        assert finding.resolved_at is not None
        assert finding.opened_at <= finding.resolved_at <= tried.clock()


@pytest.mark.parametrize("ahead", [timedelta(hours=3), timedelta(days=9000)])
def test_looks_of_a_process_that_died_with_its_clock_ahead_freeze_nothing(
    tried: Tried, ahead: timedelta
) -> None:
    scan = tried.writer.begin_scan("edge", tried.clock())
    tried.writer.record(scan, [tried.look(URI, SECOND, at=EPOCH + ahead)], {})
    tried.clock.advance(minutes=15)
    tried.scan(tried.look(URI, FIRST))
    assert [each.der for each in tried.served(URI).chain] == [FIRST.der]
    assert tried.served(URI).last_seen < tried.clock()


def test_one_look_from_the_far_future_makes_nothing_else_due(tried: Tried) -> None:
    # A collector that takes its instants from what it reads may be told anything.
    tried.scan(tried.look(OTHER, FIRST))
    tried.settle()
    tried.scan(tried.look(URI, FIRST, at=EPOCH + timedelta(days=9000)), collector="odd")
    assert tried.served(URI).last_seen <= tried.clock()
    tried.scan(tried.look(OTHER, FIRST))
    assert tried.due() == [URI]


def test_sightings_of_a_time_that_never_was_become_one(tried: Tried) -> None:
    future = FakeClock(EPOCH + timedelta(days=9000))
    tried.clock = future
    for each in (FIRST, SECOND, FIRST, SECOND, FIRST):
        tried.scan(tried.look(URI, each))
    tried.clock = FakeClock(EPOCH)
    tried.scan(tried.look(URI, FIRST))
    assert [row[0] for row in tried.history(URI) if row[4] is None] == [FIRST.der]
    assert tried.reader.counts().certificates == 2


def test_a_clock_that_was_never_set_brings_nothing_back_to_1970(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST))
    known = tried.clock()
    tried.clock = FakeClock(datetime(1970, 1, 1, 0, 1, tzinfo=EPOCH.tzinfo))
    assert tried.scan(tried.look(URI, SECOND)).started_at == known
    assert [each.der for each in tried.served(URI).chain] == [SECOND.der]
    assert tried.served(URI).last_seen == known
    assert tried.history(URI) == [(FIRST.der, 0, EPOCH, EPOCH, known), (SECOND.der, 0, known, known, None)]
    tried.clock = FakeClock(EPOCH + timedelta(minutes=1))
    tried.scan(tried.look(URI, SECOND))
    assert tried.served(URI).last_seen == EPOCH + timedelta(minutes=1)


def test_what_has_vanished_from_a_network_is_retired_by_a_complete_scan_and_by_no_other(tried: Tried) -> None:
    gone = replace(tried.look(URI, error=TIMEOUT), guessed=True, absent=True)
    tried.scan(tried.look(URI, FIRST))
    tried.clock.advance(hours=1)
    tried.scan(replace(gone, observed_at=tried.clock()), incomplete=[Incomplete(scope="", error=TIMEOUT)])
    served = tried.served(URI)
    assert served.retired_at is None
    assert served.error == TIMEOUT
    tried.clock.advance(hours=1)
    tried.scan(replace(gone, observed_at=tried.clock()))
    assert tried.served(URI).retired_at == tried.clock()
    # Nothing there, once more: it stays retired, and comes back with a certificate only.
    tried.clock.advance(hours=1)
    tried.scan(replace(gone, observed_at=tried.clock()))
    assert tried.served(URI).retired_at is not None
    tried.scan(tried.look(URI, FIRST))
    assert tried.served(URI).retired_at is None


def test_a_way_over_several_scans_retires_what_none_of_them_saw(tried: Tried) -> None:
    third = "tls://203.0.113.9:443/"
    looks = [tried.look(each, FIRST, scope="net") for each in (URI, OTHER, third)]
    tried.scan(*looks)
    began = tried.clock.advance(hours=1)
    tried.scan(tried.look(URI, FIRST, scope="net"), failed=TIMEOUT)
    tried.clock.advance(hours=1)
    scan = tried.writer.begin_scan("edge", tried.clock())
    tried.writer.record(scan, [tried.look(OTHER, FIRST, scope="net")], {})
    tried.writer.finish_scan(scan, [], tried.clock.advance(seconds=1), continued={"net": began})
    retired = {each: tried.served(each).retired_at is not None for each in (URI, OTHER, third)}
    assert retired == {URI: False, OTHER: False, third: True}


def test_a_way_whose_beginning_the_inventory_does_not_know_retires_nothing(tried: Tried) -> None:
    # A backup was restored that is older than the way's beginning: what the way saw before is in no scan, and was retired.
    third = "tls://203.0.113.9:443/"
    tried.scan(*(tried.look(each, FIRST, scope="net") for each in (URI, OTHER, third)))
    tried.clock.advance(hours=1)
    tried.scan(tried.look(URI, FIRST, scope="net"), failed=TIMEOUT)
    began = tried.clock.advance(hours=1)
    scan = tried.writer.begin_scan("edge", tried.clock.advance(hours=1))
    tried.writer.record(scan, [tried.look(OTHER, FIRST, scope="net")], {})
    tried.writer.finish_scan(scan, [], tried.clock.advance(seconds=1), continued={"net": began})
    assert [tried.served(each).retired_at for each in (URI, OTHER, third)] == [None, None, None]
