"""Who has a shard, and that nobody else's word counts."""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import DBAPIError

from certwatch.config.schema import ZONE_PATTERN
from certwatch.inventory import open_inventory
from certwatch.inventory.postgresql.zones import FIRST, MOST_LOST, Zones
from certwatch.inventory.shards import Claimed, MissingBatchError, SupersededError
from certwatch.inventory.store import InventoryError, Judgement, Writer
from certwatch.model.location import LocationURI
from certwatch.model.observation import Observation, ScanID
from certwatch.plugins.testing import EPOCH, make_certificate
from certwatch.zones.queue import TASK, _migrations, bring_up
from tests.support import postgresql_inventories

pytestmark = pytest.mark.timeout(60)

LEAF = make_certificate()
RENEWED = make_certificate(not_after=EPOCH + timedelta(days=90))


@pytest.fixture
def url() -> Iterator[str]:
    with postgresql_inventories.empty() as url:
        bring_up(url)
        yield url


@pytest.fixture
def writer(url: str) -> Iterator[Writer]:
    with closing(open_inventory(url).writer()) as writer:
        yield writer


@pytest.fixture
def zones(url: str) -> Iterator[Zones]:
    with closing(Zones(url)) as zones:
        yield zones


def look(number: int) -> Observation:
    return Observation(
        location=LocationURI(f"tls://192.0.2.{number}:443/"),
        observed_at=EPOCH,
        chain=(LEAF.der,),
        scope="edge",
    )


def enrolled(zones: Zones, name: str = "one", *, zone: str = "dmz") -> int:
    return zones.enrol(zone, name, "postgresql", "1", slots=2, lease_seconds=30)


def silent(url: str, worker: int) -> None:
    """As if it had not been heard of for longer than its lease."""
    postgresql_inventories.server().run(
        f"UPDATE workers SET seen_at = now() - interval '31 s' WHERE id = {worker}",  # noqa: S608
        database=url.rpartition("/")[2],
    )


def begun(writer: Writer, zones: Zones, parts: int = 2) -> tuple[ScanID, list[int]]:
    """A scan and its shards, told of."""
    scan = writer.begin_scan("edge", EPOCH)
    zones.open_scan(scan, "dmz", "{}", [0] * parts)
    tickets = zones.advance(scan, per_slot=2, least=100).tickets
    return scan, [each.shard for each in tickets]


def claimed(zones: Zones, shard: int, worker: int) -> Claimed:
    given = zones.claim(shard, worker)
    assert given is not None
    return given


def queued(url: str, zones: Zones, *shards: int) -> None:
    """As the queue has it when workers were told of them: each job has the number of its shard."""
    postgresql_inventories.server().run(
        *(
            "INSERT INTO procrastinate_jobs (id, queue_name, task_name, args)"  # noqa: S608
            f" VALUES ({shard}, 'dmz', '{TASK}', jsonb_build_object('shard', {shard}))"
            for shard in shards
        ),
        database=url.rpartition("/")[2],
    )
    zones.told({shard: shard for shard in shards})


def jobs(url: str) -> dict[int, int]:
    """In the queue, with the priority of each."""
    with postgresql_inventories.server().administrator(url.rpartition("/")[2]) as connection:
        rows = connection.exec_driver_sql("SELECT id, priority FROM procrastinate_jobs")
        return {int(row[0]): int(row[1]) for row in rows}


def test_a_shard_is_one_workers_alone(writer: Writer, zones: Zones) -> None:
    _, (first, _) = begun(writer, zones)
    one, two = enrolled(zones), enrolled(zones, "two")
    given = claimed(zones, first, one)
    assert (given.part, given.parts, given.spec) == (0, 2, "{}")
    assert zones.claim(first, two) is None
    assert zones.claim(first, one) is None


def test_a_shard_is_not_for_workers_of_another_zone(writer: Writer, zones: Zones) -> None:
    _, (first, _) = begun(writer, zones)
    assert zones.claim(first, enrolled(zones, zone="lan")) is None


def test_what_a_worker_hands_in_is_recorded_once_however_often_it_says_it(
    writer: Writer, zones: Zones
) -> None:
    scan, (first, second) = begun(writer, zones)
    worker = enrolled(zones)
    given = claimed(zones, first, worker)
    done = zones.record(given, 1, [look(1), look(2)], {"environment": "prod"})
    assert done is not None
    assert done.changed == 2
    assert zones.record(given, 1, [look(1), look(2)], {}) is None
    zones.finish(given, '{"a":1}', batches=1)
    zones.finish(given, '{"a":2}', batches=1)
    assert [(each.part, each.worker, each.outcome) for each in zones.ended(scan)] == [(0, worker, '{"a":1}')]
    given = claimed(zones, second, worker)
    with pytest.raises(MissingBatchError, match="batch 2 comes after 0"):
        zones.record(given, 2, [look(3)], {})
    # A server that took over was behind: what it lacks must not be taken for handed in.
    with pytest.raises(MissingBatchError, match="0 of 1 batches are there"):
        zones.finish(given, "{}", batches=1)
    zones.finish(given, "{}", batches=0)
    progress = zones.advance(scan, per_slot=2, least=4)
    assert (progress.waiting, progress.running, progress.done, progress.changed) == (0, 0, 2, 2)
    finished = writer.finish_scan(scan, (), EPOCH)
    assert (finished.status, finished.observations) == ("complete", 2)


def test_a_silent_workers_shard_goes_to_another_and_its_late_word_is_refused(
    url: str, writer: Writer, zones: Zones
) -> None:
    scan, (first, _) = begun(writer, zones)
    one, two = enrolled(zones), enrolled(zones, "two")
    given = claimed(zones, first, one)
    zones.record(given, 1, [look(1)], {})
    assert zones.keep(one) == frozenset({(given.shard, given.claim)})
    silent(url, one)
    progress = zones.advance(scan, per_slot=2, least=4)
    assert (progress.taken_over, progress.waiting) == (1, 2)
    again = claimed(zones, first, two)
    assert again.claim != given.claim
    assert zones.keep(one) == frozenset()
    with pytest.raises(SupersededError):
        zones.record(given, 2, [look(9)], {})
    with pytest.raises(SupersededError):
        zones.finish(given, "{}", batches=None)
    zones.release(given.shard, given.claim)
    assert zones.record(again, 1, [look(2)], {}) is not None
    zones.finish(again, "{}", batches=1)
    with pytest.raises(SupersededError):
        zones.record(given, 2, [look(9)], {})
    with closing(open_inventory(url).reader()) as reader:
        assert reader.served(LocationURI("tls://192.0.2.9:443/")) is None


def test_a_claim_that_the_server_forgot_is_given_to_nobody_else(
    url: str, writer: Writer, zones: Zones
) -> None:
    # A claim is not waited for until it is on the disk: a crash may undo it. Numbered, the next one had the same number, and
    # what its worker handed in was taken for what the first one had handed in before.
    scan, (first, _) = begun(writer, zones)
    one, two = enrolled(zones), enrolled(zones, "two")
    given = claimed(zones, first, one)
    postgresql_inventories.server().run(
        f"UPDATE shards SET state = 'waiting', claim = 0, worker = NULL WHERE id = {first}",  # noqa: S608
        database=url.rpartition("/")[2],
    )
    again = claimed(zones, first, two)
    with pytest.raises(SupersededError):
        zones.record(given, 1, [look(1)], {})
    assert zones.record(again, 1, [look(2)], {}) is not None
    with pytest.raises(SupersededError):
        zones.finish(given, "{}", batches=1)
    zones.finish(again, "{}", batches=1)
    assert [each.worker for each in zones.ended(scan)] == [two]


def test_what_a_worker_whose_clock_is_behind_sees_is_no_older_than_its_scan(
    url: str, writer: Writer, zones: Zones
) -> None:
    # What had changed counted as seen before the last look of a worker whose clock was right: nobody heard of it.
    scan = writer.begin_scan("edge", EPOCH)
    writer.record(scan, [look(1)])
    writer.finish_scan(scan, (), EPOCH)
    scan = writer.begin_scan("edge", EPOCH + timedelta(minutes=15))
    zones.open_scan(scan, "dmz", "{}", [0])
    (ticket,) = zones.advance(scan, per_slot=2, least=9).tickets
    given = claimed(zones, ticket.shard, enrolled(zones))
    behind = replace(look(1), observed_at=EPOCH - timedelta(minutes=40), chain=(RENEWED.der,))
    done = zones.record(given, 1, [behind], {})
    assert done is not None
    assert done.changed == 1
    with closing(open_inventory(url).reader()) as reader:
        served = reader.served(behind.location)
    assert served is not None
    assert [each.der for each in served.chain] == [RENEWED.der]
    assert served.last_seen == EPOCH + timedelta(minutes=15)


def test_who_was_silent_and_lost_to_nobody_goes_on(url: str, writer: Writer, zones: Zones) -> None:
    scan, (first, _) = begun(writer, zones)
    one = enrolled(zones)
    given = claimed(zones, first, one)
    silent(url, one)
    assert zones.advance(scan, per_slot=2, least=4).taken_over == 1
    assert zones.keep(one) == frozenset({(given.shard, given.claim)})
    assert zones.record(given, 1, [look(1)], {}) is not None
    assert zones.claim(first, enrolled(zones, "two")) is None


def test_a_shard_that_silences_every_worker_is_given_up(url: str, writer: Writer, zones: Zones) -> None:
    scan, (first, second) = begun(writer, zones)
    for number in range(MOST_LOST):
        worker = enrolled(zones, str(number))
        claimed(zones, first, worker)
        silent(url, worker)
        zones.advance(scan, per_slot=2, least=4)
    assert zones.claim(first, enrolled(zones)) is None
    assert [(each.part, each.worker, each.outcome) for each in zones.ended(scan)] == [(0, None, None)]
    assert zones.claim(second, enrolled(zones)) is not None


def test_only_workers_that_fell_silent_in_a_row_count(url: str, writer: Writer, zones: Zones) -> None:
    # A long scan, in which workers were killed now and then, lost parts that they were well able to do.
    scan, (first, _) = begun(writer, zones)
    for round in range(3):
        for number in range(MOST_LOST - 1):
            worker = enrolled(zones, f"{round}.{number}")
            given = claimed(zones, first, worker)
            if not number:
                assert zones.record(given, 1, [look(1)], {}) is not None
            silent(url, worker)
            assert zones.advance(scan, per_slot=2, least=4).taken_over == 1
    assert zones.ended(scan) == []


def test_what_can_be_handed_in_in_part_only_is_given_up(writer: Writer, zones: Zones) -> None:
    _, (first, _) = begun(writer, zones)
    worker = enrolled(zones)
    for _ in range(MOST_LOST):
        given = claimed(zones, first, worker)
        assert zones.record(given, 1, [look(1)], {}) is not None
        zones.release(given.shard, given.claim, failed=True)
    assert zones.claim(first, worker) is None


def test_a_silence_of_the_servers_own_is_no_workers(url: str, writer: Writer, zones: Zones) -> None:
    # With each restart of the server that took longer than a lease, every part under way came nearer to being given up.
    scan, (first, _) = begun(writer, zones)
    for number in range(MOST_LOST):
        worker = enrolled(zones, str(number))
        claimed(zones, first, worker)
        silent(url, worker)
        assert zones.advance(scan, per_slot=2, least=4, heard_seconds=lambda: 29.0).taken_over == 1
    assert zones.ended(scan) == []
    assert zones.claim(first, enrolled(zones)) is not None


def test_what_a_worker_gives_back_or_leaves_waits_for_others(writer: Writer, zones: Zones) -> None:
    scan, (first, second) = begun(writer, zones)
    one, two = enrolled(zones), enrolled(zones, "two")
    given = claimed(zones, first, one)
    zones.release(given.shard, given.claim)
    assert claimed(zones, first, two).claim != given.claim
    claimed(zones, second, one)
    zones.leave(one)
    assert zones.keep(one) is None
    assert zones.advance(scan, per_slot=2, least=4).taken_over == 1
    assert zones.claim(second, two) is not None


def test_a_shard_that_no_worker_can_do_is_given_up(writer: Writer, zones: Zones) -> None:
    scan, (first, second) = begun(writer, zones)
    worker = enrolled(zones)
    for _ in range(MOST_LOST):
        given = claimed(zones, first, worker)
        zones.release(given.shard, given.claim, failed=True)
        # What is given back for other reasons is no fault of its own.
        given = claimed(zones, second, worker)
        zones.release(given.shard, given.claim)
    assert zones.claim(first, worker) is None
    assert [(each.part, each.outcome) for each in zones.ended(scan)] == [(0, None)]
    assert zones.claim(second, worker) is not None


def test_nothing_is_taken_for_a_scan_that_is_over(writer: Writer, zones: Zones) -> None:
    scan, (first, second) = begun(writer, zones)
    worker = enrolled(zones)
    given = claimed(zones, first, worker)
    # Another daemon begins anew.
    writer.begin_scan("edge", EPOCH)
    with pytest.raises(SupersededError):
        zones.record(given, 1, [look(1)], {})
    assert zones.claim(second, worker) is None
    zones.close_scan(scan)
    with pytest.raises(SupersededError):
        zones.finish(given, "{}", batches=None)


def test_a_scan_of_the_same_is_gone_on_with_and_of_something_else_is_forgotten(
    writer: Writer, zones: Zones
) -> None:
    scan, _ = begun(writer, zones)
    assert zones.unfinished("edge", "dmz", "{}") == scan
    assert zones.unfinished("lan", "dmz", "{}") is None
    assert zones.unfinished("edge", "dmz", '{"other": 1}') is None
    assert zones.unfinished("edge", "dmz", "{}") is None
    scan, _ = begun(writer, zones)
    writer.finish_scan(scan, (), EPOCH)
    assert zones.unfinished("edge", "dmz", "{}") is None


@pytest.mark.parametrize("hours", [0, 2])
def test_workers_do_not_hurry_ahead_of_a_daemon_whose_clock_is_slow(
    url: str, zones: Zones, hours: int
) -> None:
    # Each step of the daemon would take that for time that went back, and have everything judged anew.
    def now() -> datetime:
        return datetime.now(UTC) - timedelta(hours=hours)

    store = open_inventory(url)
    with closing(store.writer()) as writer, closing(store.reader()) as reader:
        scan = writer.begin_scan("edge", now())
        zones.open_scan(scan, "dmz", "{}", [0])
        (ticket,) = zones.advance(scan, per_slot=2, least=1).tickets
        given = claimed(zones, ticket.shard, enrolled(zones))
        for number in (1, 2, 3):
            zones.record(given, number, [replace(look(number), observed_at=datetime.now(UTC))], {})
            (due,) = reader.due(now(), 9)
            id, revision = due.served.id, due.revision
            judged = Judgement(location_id=id, revision=revision, owner="", problems=(), due_at=None)
            writer.settle([judged], now())
        assert reader.due(now(), 9) == []
        assert max(each.last_seen for each in reader.live()) <= now()


def test_a_scan_that_another_step_ended_leaves_nothing_to_do(writer: Writer, zones: Zones) -> None:
    # Its daemon was killed; in the next one's config the collector has another name, or no zone.
    one = enrolled(zones)
    _, (first, _) = begun(writer, zones)
    given = claimed(zones, first, one)
    assert writer.abandon_collectors([], EPOCH) == 0
    assert zones.zones() == []
    assert zones.keep(one) == frozenset()
    with pytest.raises(SupersededError):
        zones.record(given, 1, [look(1)], {})
    begun(writer, zones)
    writer.begin_scan("edge", EPOCH)
    assert zones.zones() == []


def test_who_gave_a_shard_back_is_not_told_that_it_has_it(url: str, writer: Writer, zones: Zones) -> None:
    one = enrolled(zones)
    scan, (first, second) = begun(writer, zones)
    zones.release(first, claimed(zones, first, one).claim)
    assert zones.keep(one) == frozenset()
    # Nor who gives back what was taken from it meanwhile.
    given = claimed(zones, second, one)
    silent(url, one)
    zones.advance(scan, per_slot=2, least=100)
    assert zones.keep(one) == frozenset({(second, given.claim)})
    zones.release(second, given.claim)
    assert zones.keep(one) == frozenset()
    assert zones.zones()[0].waiting == 2


def test_no_more_of_a_scan_is_queued_than_its_zones_workers_take_soon(
    url: str, writer: Writer, zones: Zones
) -> None:
    scan = writer.begin_scan("edge", EPOCH)
    zones.open_scan(scan, "dmz", "{}", [0, 0, 10, 0, 5, 0, 0, 0, 0, 0])
    tickets = zones.advance(scan, per_slot=2, least=3).tickets
    assert [each.priority for each in tickets] == [10, 5, 0]
    run = postgresql_inventories.server().run
    # As the queue would have it: told, and waiting.
    run(
        *(
            "INSERT INTO procrastinate_jobs (id, queue_name, task_name, args)"  # noqa: S608
            f" VALUES ({each.shard}, 'dmz', 'certwatch.look', '{{}}')"
            for each in tickets
        ),
        database=url.rpartition("/")[2],
    )
    zones.told({each.shard: each.shard for each in tickets})
    assert zones.advance(scan, per_slot=2, least=3).tickets == ()
    worker = enrolled(zones)
    assert len(zones.advance(scan, per_slot=2, least=3).tickets) == 1
    claimed(zones, tickets[0].shard, worker)
    assert len(zones.advance(scan, per_slot=2, least=3).tickets) == 1
    (state,) = zones.zones()
    assert (state.zone, state.waiting, state.running) == ("dmz", 9, 1)
    assert state.oldest_seconds is not None
    (told,) = zones.workers()
    assert (told.name, told.slots, told.running, told.alive) == ("one", 2, 1, True)
    # A job that was lost is told of again.
    run("DELETE FROM procrastinate_jobs", database=url.rpartition("/")[2])
    assert len(zones.advance(scan, per_slot=2, least=4).tickets) == 3


def test_what_was_told_and_not_taken_is_told_again(url: str, writer: Writer, zones: Zones) -> None:
    # Whoever took the job from the queue could not say that it is over, and lives: the shard waited for a day.
    scan, (first, _) = begun(writer, zones)
    queued(url, zones, first)
    run = postgresql_inventories.server().run
    database = url.rpartition("/")[2]
    assert first not in [each.shard for each in zones.advance(scan, per_slot=2, least=9).tickets]
    run("UPDATE procrastinate_jobs SET status = 'doing'", database=database)
    assert first not in [each.shard for each in zones.advance(scan, per_slot=2, least=9).tickets]
    run(
        "UPDATE procrastinate_events SET at = now() - interval '61 s' WHERE type = 'started'",
        database=database,
    )
    assert first in [each.shard for each in zones.advance(scan, per_slot=2, least=9).tickets]


def test_what_waits_for_long_goes_before_what_is_always_more_urgent(
    url: str, writer: Writer, zones: Zones
) -> None:
    scan, (first, second) = begun(writer, zones)
    queued(url, zones, first, second)
    postgresql_inventories.server().run(
        f"UPDATE procrastinate_events SET at = now() - interval '601 s' WHERE job_id = {first}",  # noqa: S608
        database=url.rpartition("/")[2],
    )
    zones.advance(scan, per_slot=2, least=9)
    assert jobs(url) == {first: FIRST, second: 0}


def test_what_is_over_leaves_the_queue(url: str, writer: Writer, zones: Zones) -> None:
    # In a zone without workers nobody else would take it out.
    scan, (first, second) = begun(writer, zones)
    queued(url, zones, first, second)
    zones.tidy(TASK)
    assert set(jobs(url)) == {first, second}
    zones.finish(claimed(zones, first, enrolled(zones)), "{}", batches=0)
    zones.tidy(TASK)
    assert set(jobs(url)) == {second}
    writer.finish_scan(scan, (), EPOCH)
    zones.tidy(TASK)
    assert jobs(url) == {}
    assert zones.zones() == []


def test_workers_can_be_told_of_the_zone_with_the_longest_name(url: str) -> None:
    # Of a longer one the queue took no job: the name of its channel was too long.
    zone = "z" * 40
    assert re.fullmatch(ZONE_PATTERN, zone)
    assert not re.fullmatch(ZONE_PATTERN, zone + "z")
    postgresql_inventories.server().run(
        f"INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('{zone}', '{TASK}')",  # noqa: S608
        database=url.rpartition("/")[2],
    )
    with pytest.raises(DBAPIError, match="channel name too long"):
        postgresql_inventories.server().run(
            f"INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('{zone}z', '{TASK}')",  # noqa: S608
            database=url.rpartition("/")[2],
        )


def test_the_queues_tables_are_made_once_and_another_programs_are_left_alone(url: str) -> None:
    bring_up(url)
    run = postgresql_inventories.server().run
    database = url.rpartition("/")[2]
    last = _migrations()[-1].name
    try:
        run(
            "COMMENT ON TABLE procrastinate_jobs IS 'certwatch: procrastinate''s schema 99.00.00_01_x.sql'",
            database=database,
        )
        with pytest.raises(InventoryError, match="newer"):
            bring_up(url)
        run("COMMENT ON TABLE procrastinate_jobs IS NULL", database=database)
        with pytest.raises(InventoryError, match="another program's"):
            bring_up(url)
    finally:
        run(
            f"COMMENT ON TABLE procrastinate_jobs IS 'certwatch: procrastinate''s schema {last}'",
            database=database,
        )
    bring_up(url)
