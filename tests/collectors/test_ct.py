"""Logs are followed over real HTTP, verified, and what is watched in them is told with its proof."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.ct.leaves import make_leaf, parse_leaf
from certwatch.plugins.testing import EPOCH
from collectors.ct.found import wrapped
from tests.collectors.ct_stage import Reading, log_of, ordinary, ours, prove
from tests.ct.odd_names import tricks
from tests.support.ct_log import BEGIN_MS, Answer, TestLog, serving

# Each is a server and a client over HTTP: on a busy machine that takes its time.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture(params=["rfc6962", "static"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def log(kind: str) -> TestLog:
    return log_of(kind)


@pytest.fixture
def reading(log: TestLog, kind: str, tmp_path: Path) -> Iterator[Reading]:
    with serving(log):
        yield Reading(tmp_path, log, static=kind == "static")


async def test_what_is_watched_is_found_with_its_proof(reading: Reading, log: TestLog) -> None:
    for index in range(1500):
        if index in (0, 300, 1234):
            log.add(ours(index), precertificate=index == 300)
        else:
            log.add(ordinary(index), precertificate=index % 2 == 0)
    head = log.publish()
    await reading.once()
    found = reading.found()
    name = log.url.partition("://")[2]
    assert sorted(found) == sorted(f"ct://{name}/{index}" for index in (0, 300, 1234))
    for each in found.values():
        prove(each, log)
        assert each.facts["ct_matches"] == ".example.com (dns www.example.com)"
    assert found[f"ct://{name}/300"].facts["ct_entry"] == "precertificate"
    assert found[f"ct://{name}/0"].chain[0] == ours(0)
    assert len(found[f"ct://{name}/300"].chain) == 2
    assert reading.state(log)["ct_size"] == head.size
    assert reading.faults(log) == []


async def test_reading_goes_on_where_it_ended(reading: Reading, log: TestLog) -> None:
    for index in range(700):
        log.add(ordinary(index))
    log.publish()
    await reading.once()
    log.requests.clear()
    for index in range(700, 1400):
        log.add(ours(index) if index == 1000 else ordinary(index))
    log.publish()
    await reading.once()
    assert [each.rpartition("/")[2] for each in reading.found()] == ["1000"]
    assert reading.state(log)["ct_size"] == 1400
    assert not reading.static or "tile/data/000" not in log.requests
    prove(next(iter(reading.found().values())), log)


async def test_it_begins_at_the_end_and_knows_what_comes_later(reading: Reading, log: TestLog) -> None:
    for index in range(333):
        log.add(ours(index))
    log.publish()
    await reading.once(start="end")
    assert reading.found() == {}
    assert reading.state(log)["ct_start"] == reading.state(log)["ct_size"] == 333
    log.add(ours(900))
    log.publish()
    await reading.once(start="end")
    assert [each.rpartition("/")[2] for each in reading.found()] == ["333"]


async def test_it_begins_at_a_date(reading: Reading, log: TestLog) -> None:
    hour = 3_600_000
    for index in range(900):
        log.add(ours(index) if index % 100 == 50 else ordinary(index), at=BEGIN_MS + index * hour)
    log.publish(at=BEGIN_MS + 900 * hour)
    reading.clock.now = EPOCH + timedelta(days=40)
    await reading.once(start="2026-11-21")
    # Twenty days are 480 hours; the maximum merge delay of 24 is taken off.
    assert reading.state(log)["ct_start"] == 456
    assert sorted(int(each.rpartition("/")[2]) for each in reading.found()) == [550, 650, 750, 850]
    for each in reading.found().values():
        prove(each, log)


async def test_no_trick_hides_a_name_in_a_log(reading: Reading, log: TestLog) -> None:
    hidden = dict(tricks())
    for number, data in enumerate(hidden.values()):
        log.add(ordinary(number))
        log.append(make_leaf(data, BEGIN_MS), b"\0\0\0", b"\0\0")
    if not reading.static:  # a tile cannot hold what has no end
        log.append(b"\0\0" + bytes(8) + b"\0\0" + b"\xff\xff", b"", b"\0\0")
    log.publish()
    await reading.once(domains=[".example.com", "sub.watched.org", ".bücher.de"])
    found = {int(each.rpartition("/")[2]) for each in reading.found()}
    assert found == {2 * number + 1 for number in range(len(hidden))}


async def test_what_stands_beside_a_leaf_proves_nothing(reading: Reading, log: TestLog) -> None:
    log.add(ours(7), precertificate=True)
    log.extra[0] = log.extra[0].replace(b"www.example.com", b"www.example.org")
    log.rest[0] = log.rest[0].replace(b"www.example.com", b"www.example.org")
    log.publish()
    await reading.once()
    (found,) = reading.found().values()
    assert b"www.example.com" in found.chain[0]
    assert b"www.example.org" not in found.chain[0]
    assert found.chain[0] == wrapped(parse_leaf(log.leaves[0]).certificate)


async def test_names_that_are_added_are_looked_up_in_what_was_read(
    reading: Reading, log: TestLog, tmp_path: Path
) -> None:
    for index in range(600):
        log.add(ours(index, "www.later.org") if index in (5, 599) else ordinary(index))
    log.publish()
    names = tmp_path / "names"
    names.write_text(".example.com # ours\n\n")
    await reading.once(domains=[], domains_file=str(names))
    assert reading.found() == {}
    names.write_text(".example.com\n.later.org\n")
    await reading.once(domains=[], domains_file=str(names))
    assert sorted(int(each.rpartition("/")[2]) for each in reading.found()) == [5, 599]
    log.requests.clear()
    await reading.once(domains=[], domains_file=str(names))
    assert not any("entries" in each or "data" in each for each in log.requests)


async def test_a_log_that_is_new_to_the_list_begins_where_watching_began(tmp_path: Path) -> None:
    began = round(EPOCH.timestamp() * 1000)
    known, new = TestLog(name="known"), TestLog(name="new", number=51)
    for log in (known, new):
        log.speaks = {"rfc6962"}
        for index in range(300):
            log.add(ours(index) if index == 100 else ordinary(index), at=began - 10 * 86_400_000)
        log.publish(at=began)
    with serving(known, new):
        reading = Reading(tmp_path, known)
        await reading.once(start="end")
        assert reading.found() == {}
        reading.clock.advance(days=5)
        # Meanwhile the other one takes a certificate, and is listed only afterwards.
        new.add(ours(300), at=began + 86_400_000)
        for log in (known, new):
            log.publish(at=began + 5 * 86_400_000)
        reading.logs = (known, new)
        await reading.once(start="end")
        assert [each.split("/")[-2:] for each in reading.found()] == [["new", "300"]]


async def test_a_watch_list_that_changes_while_it_is_read_ends_the_scan_and_the_next_looks_back(
    reading: Reading, log: TestLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan may take an hour."""
    monkeypatch.setattr("collectors.ct.follow.STRETCH", 256)
    for index in range(2000):
        log.add(ours(index, "www.later.org") if index in (5, 1900) else ordinary(index))
    log.publish()
    names = tmp_path / "names"
    names.write_text(".example.com\n")

    def change(path: str, query: Mapping[str, str], answer: Answer) -> Answer:
        if path == "tile/data/002" or query.get("start") == "512":
            names.write_text(".example.com\n.later.org\n")
        return answer

    log.tamper = change
    await reading.once(domains=[], domains_file=str(names))
    assert 0 < reading.state(log)["ct_size"] < 2000
    log.tamper = None
    await reading.once(domains=[], domains_file=str(names))
    assert reading.state(log)["ct_size"] == 2000
    assert sorted(int(each.rpartition("/")[2]) for each in reading.found()) == [5, 1900]


async def test_the_log_is_told_who_asks(reading: Reading, log: TestLog) -> None:
    log.add(ordinary(1))
    log.publish()
    await reading.once()
    (agent,) = log.user_agents
    assert agent.startswith("certwatch/")
    assert "ops@example.com" in agent


async def test_a_hybrid_is_found_by_asking_and_read_by_tiles(tmp_path: Path) -> None:
    log = TestLog()
    log.speaks = {"rfc6962", "hybrid"}
    for index in range(600):
        log.add(ours(index) if index in (100, 599) else ordinary(index))
    log.publish()
    with serving(log):
        reading = Reading(tmp_path, log)
        await reading.once()
        assert sorted(int(each.rpartition("/")[2]) for each in reading.found()) == [100, 599]
        assert log.requests.count("ct/v1/get-entries") == 2  # one to compare, one for the end
        assert "tile/data/001" in log.requests


async def test_tiles_of_a_hybrid_that_are_not_the_logs_are_not_believed(tmp_path: Path) -> None:
    log = TestLog()
    log.speaks = {"rfc6962", "hybrid"}
    for index in range(600):
        log.add(ours(index) if index == 300 else ordinary(index))
    log.publish()

    def hide(path: str, query: Mapping[str, str], answer: Answer) -> Answer:
        if path == "tile/data/001":
            answer.body = answer.body.replace(b"www.example.com", b"www.example.org")
        return answer

    log.tamper = hide
    with serving(log):
        reading = Reading(tmp_path, log)
        await reading.once()
        await reading.once()
        assert [each.rpartition("/")[2] for each in reading.found()] == ["300"]
        assert reading.faults(log) == []
