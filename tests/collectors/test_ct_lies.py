"""What a log must not do is seen, named, kept with its evidence, and never believed."""

import base64
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.ct.heads import parse_sth
from certwatch.ct.leaves import make_leaf
from certwatch.plugins.testing import EPOCH
from certwatch.telemetry.metrics import REGISTRY
from tests.collectors.ct_stage import Reading, log_with_one_of_ours, ordinary, ours, prove
from tests.support.ct_log import BEGIN_MS, Answer, TestLog, serving

# Each is a server and a client over HTTP: on a busy machine that takes its time.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """One event loop: these are many, and none is about loops."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(params=["rfc6962", "static"])
def log(request: pytest.FixtureRequest) -> TestLog:
    return log_with_one_of_ours(request.param)


@pytest.fixture
def reading(log: TestLog, tmp_path: Path) -> Iterator[Reading]:
    with serving(log):
        yield Reading(tmp_path, log, static="static" in log.speaks)


def another(log: TestLog, size: int, *, differs_at: int) -> TestLog:
    """The same log with another history from an entry on, under the same key."""
    fork = TestLog(indexed=log.indexed)
    fork.speaks, fork.name, fork.url = log.speaks, log.name, log.url
    for index in range(size):
        fork.add(ordinary(index + (5000 if index == differs_at else 0)))
    fork.publish(log.published_at)
    return fork


def heads_are_signed_and_contradict(reading: Reading, log: TestLog) -> None:
    (fault,) = reading.faults(log)
    one, two = (parse_sth(json.dumps(each)) for each in fault["heads"])
    one.verify(log.key)
    two.verify(log.key)
    assert (one.size, one.root) != (two.size, two.root)


async def test_two_roots_for_one_size_are_a_fork(reading: Reading, log: TestLog) -> None:
    await reading.once()
    fork = another(log, 700, differs_at=3)
    log.tamper = lambda path, query, answer: fork.answer(path, query)
    await reading.once()
    assert [each["kind"] for each in reading.faults(log)] == ["fork"]
    heads_are_signed_and_contradict(reading, log)
    assert reading.state(log)["ct_size"] == 700
    # Proven once, it stays: the log has signed it.
    log.tamper = None
    log.add(ours(701))
    log.publish()
    await reading.once()
    assert [each["kind"] for each in reading.faults(log)] == ["fork"]
    assert reading.state(log)["ct_size"] == 701


async def test_a_longer_history_that_does_not_continue_the_known_one_is_a_fork(
    reading: Reading, log: TestLog
) -> None:
    await reading.once()
    fork = another(log, 900, differs_at=699)
    fork.publish(log.published_at + 5)
    log.tamper = lambda path, query, answer: fork.answer(path, query)
    await reading.once()
    assert [each["kind"] for each in reading.faults(log)] == ["fork"]
    heads_are_signed_and_contradict(reading, log)
    assert reading.state(log)["ct_size"] == 700
    assert not any(int(each.rpartition("/")[2]) >= 700 for each in reading.found())


async def test_a_fork_is_seen_though_reading_is_behind(reading: Reading, log: TestLog) -> None:
    def stop(path: str, query: Mapping[str, str], answer: Answer) -> Answer:
        return Answer(404, b"") if path.endswith("get-entries") or "data" in path else answer

    # It begins at the end, and the head is known; what comes then cannot be read.
    await reading.once(start="end")
    for index in range(700, 1000):
        log.add(ordinary(index))
    log.publish()
    log.tamper = stop
    await reading.once()
    fork = another(log, 1300, differs_at=500)
    fork.publish(log.published_at + 5)
    log.tamper = lambda path, query, answer: fork.answer(path, query)
    await reading.once()
    assert [each["kind"] for each in reading.faults(log)] == ["fork"]


async def test_a_later_head_that_is_smaller_is_a_rollback(reading: Reading, log: TestLog) -> None:
    await reading.once()
    log.published, log.published_at = 600, log.published_at + 1000
    await reading.once()
    assert [each["kind"] for each in reading.faults(log)] == ["rollback"]
    heads_are_signed_and_contradict(reading, log)
    assert reading.state(log)["ct_size"] == 700


async def test_a_frontend_that_lags_behind_is_no_fault(reading: Reading, log: TestLog) -> None:
    await reading.once()
    log.published, log.published_at = 600, log.published_at - 1000
    await reading.once()
    assert reading.faults(log) == []
    assert reading.state(log)["ct_size"] == 700


async def test_an_older_head_of_another_history_is_a_fork(reading: Reading, log: TestLog) -> None:
    await reading.once()
    fork = another(log, 600, differs_at=3)
    fork.published_at = log.published_at - 1000

    def older(path: str, query: Mapping[str, str], answer: Answer) -> Answer:
        return fork.answer(path, query) if path.endswith(("get-sth", "checkpoint")) else answer

    log.tamper = older
    await reading.once()
    assert [each["kind"] for each in reading.faults(log)] == ["fork"]
    heads_are_signed_and_contradict(reading, log)


async def test_a_root_that_the_entries_do_not_make_is_not_believed(reading: Reading, log: TestLog) -> None:
    wrong = log.head(root=bytes(32))

    def lie(path: str, query: Mapping[str, str], answer: Answer) -> Answer:
        if path == "ct/v1/get-sth":
            answer.body = json.dumps(wrong.to_json()).encode()
        if path == "checkpoint":
            answer.body = log.checkpoint(wrong)
        return answer

    log.tamper = lie
    await reading.once()
    assert [each["kind"] for each in reading.faults(log)] == ["wrong-root"]
    assert reading.found() == {}
    # It was no proof of anything: what is right again is right.
    log.tamper = None
    await reading.once()
    assert reading.faults(log) == []
    assert len(reading.found()) == 1


def replaced(body: bytes, old: bytes, new: bytes) -> bytes:
    """In an answer of either protocol."""
    if body.startswith(b"{"):
        said = json.loads(body)
        for each in said.get("entries", ()):
            leaf = base64.b64decode(each["leaf_input"]).replace(old, new)
            each["leaf_input"] = base64.b64encode(leaf).decode()
        return json.dumps(said).encode()
    return body.replace(old, new)


def reordered(body: bytes) -> bytes:
    if body.startswith(b"{"):
        said = json.loads(body)
        said["entries"].reverse()
        return json.dumps(said).encode()
    half = body.index(b"host1.unrelated") if b"host1.unrelated" in body else 0
    return body.replace(b"host1.", b"host2.", 1) if half else body


ALTERED: dict[str, Callable[[bytes], bytes]] = {
    "our entry is another one": lambda body: replaced(body, b"www.example.com", b"www.example.org"),
    "an entry of nobody's is another one": lambda body: replaced(body, b"host299.", b"host298."),
    "entries in another order": reordered,
}


@pytest.mark.parametrize("how", ALTERED)
async def test_entries_that_are_not_the_trees_are_not_believed(
    reading: Reading, log: TestLog, how: str
) -> None:
    def lie(path: str, query: Mapping[str, str], answer: Answer) -> Answer:
        if path.endswith("get-entries") or path.startswith("tile/data"):
            answer.body = ALTERED[how](answer.body)
        return answer

    log.tamper = lie
    await reading.once()
    assert [each["kind"] for each in reading.faults(log)] == ["wrong-root"]
    assert reading.found() == {}
    log.tamper = None
    await reading.once()
    (found,) = reading.found().values()
    prove(found, log)
    assert reading.faults(log) == []


def truncated(body: bytes) -> bytes:
    return body[: len(body) // 2]


def missing(body: bytes) -> bytes:
    """An entry left out, as if there had never been one."""
    if body.startswith(b"{"):
        said = json.loads(body)
        del said["entries"][0]
        return json.dumps(said).encode()
    return body[: len(body) - 300]


def oversized(body: bytes) -> bytes:
    if body.startswith(b"{"):
        said = json.loads(body)
        said["entries"] += said["entries"]
        return json.dumps(said).encode()
    return body * 2


BROKEN: dict[str, Callable[[bytes], Answer]] = {
    "truncated": lambda body: Answer(200, truncated(body)),
    "oversized": lambda body: Answer(200, oversized(body)),
    "empty": lambda body: Answer(200, b""),
    "no entries": lambda body: Answer(200, b'{"entries": []}' if body.startswith(b"{") else b""),
    "HTML": lambda body: Answer(200, b"<!DOCTYPE html><html><body>Just a moment</body></html>"),
    "gzip bomb": lambda body: Answer(200, gzip.compress(bytes(60 << 20), 1), {"Content-Encoding": "gzip"}),
    "damaged gzip": lambda body: Answer(200, gzip.compress(body)[:-20], {"Content-Encoding": "gzip"}),
    "not found": lambda body: Answer(404, b""),
    "redirect": lambda body: Answer(302, b"", {"Location": "http://127.0.0.1:1/"}),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_what_is_no_answer_is_named_and_asked_again(
    reading: Reading, log: TestLog, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collectors.ct.requests.FIRST_PAUSE", 0.01)

    def lie(path: str, query: Mapping[str, str], answer: Answer) -> Answer:
        return (
            BROKEN[how](answer.body)
            if path.endswith("get-entries") or path.startswith("tile/data")
            else answer
        )

    log.tamper = lie
    await reading.once()
    assert "no log could be read" in reading.failed
    (message,) = reading.memory.errors.values()
    assert log.url.partition("://")[2] in message
    if how == "HTML" and "rfc6962" in log.speaks:
        assert "HTML" in message
    assert reading.found() == {}
    log.tamper = None
    await reading.once()
    assert len(reading.found()) == 1
    assert reading.memory.errors == {}


async def test_a_missing_entry_is_not_passed_over(reading: Reading, log: TestLog) -> None:
    def lie(path: str, query: Mapping[str, str], answer: Answer) -> Answer:
        if (path.endswith("get-entries") and query["start"] == "0") or path == "tile/data/001":
            answer.body = missing(answer.body)
        return answer

    log.tamper = lie
    await reading.once()
    assert reading.found() == {}
    log.tamper = None
    await reading.once()
    assert len(reading.found()) == 1


async def test_too_many_requests_are_answered_with_patience(
    reading: Reading, log: TestLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collectors.ct.pace.FIRST_INTERVAL", 0.01)
    refused: list[str] = []

    def busy(path: str, query: Mapping[str, str], answer: Answer) -> Answer:
        if (path.endswith("get-entries") or path.startswith("tile/data")) and len(refused) < 3:
            refused.append(path)
            return [Answer(429, b"", {"Retry-After": "0"}), Answer(503, b""), Answer(500, b"")][
                len(refused) - 1
            ]
        return answer

    log.tamper = busy
    await reading.once()
    assert len(refused) == 3
    assert len(reading.found()) == 1


async def test_a_head_that_is_not_signed_by_the_log_is_refused(reading: Reading, log: TestLog) -> None:
    await reading.once()
    stranger = TestLog(number=51)
    forged = stranger.head(size=800, at=log.published_at + 5, root=bytes(32))
    forged = type(forged)(
        size=forged.size, root=forged.root, timestamp=forged.timestamp, signature=forged.signature
    )

    def lie(path: str, query: Mapping[str, str], answer: Answer) -> Answer:
        if path == "ct/v1/get-sth":
            answer.body = json.dumps(forged.to_json()).encode()
        if path == "checkpoint":
            answer.body = log.checkpoint(forged)
        return answer

    log.tamper = lie
    await reading.once()
    assert [each["kind"] for each in reading.faults(log)] == ["bad-signature"]
    assert reading.state(log)["ct_size"] == 700
    log.tamper = None
    await reading.once()
    assert reading.faults(log) == []


async def test_a_head_past_its_maximum_merge_delay_is_a_fault_until_there_is_a_new_one(
    reading: Reading, log: TestLog
) -> None:
    await reading.once()
    assert reading.faults(log) == []
    reading.clock.now = EPOCH + timedelta(days=3)
    await reading.once()
    assert [each["kind"] for each in reading.faults(log)] == ["past-mmd"]
    log.publish(at=BEGIN_MS + 86_400_000 * 3)
    await reading.once()
    assert reading.faults(log) == []


async def test_a_read_only_log_is_read_to_its_end_and_left_alone(reading: Reading, log: TestLog) -> None:
    reading.states[log.name] = log.final_state()
    await reading.once()
    assert reading.state(log)["ct_finished"] is True
    name = log.url.partition("://")[2]
    assert REGISTRY.get_sample_value("certwatch_ct_read_timestamp_seconds", {"log": name}) is None
    assert len(reading.found()) == 1
    log.requests.clear()
    reading.clock.now = EPOCH + timedelta(days=30)
    await reading.once()
    assert log.requests == []
    assert reading.faults(log) == []


async def test_a_read_only_log_that_grows_is_a_fault(reading: Reading, log: TestLog) -> None:
    reading.states[log.name] = log.final_state()
    log.add(ordinary(9000))
    log.publish()
    await reading.once()
    assert [each["kind"] for each in reading.faults(log)] == ["grows"]


async def test_a_leaf_of_sixteen_mebibytes_is_read(tmp_path: Path) -> None:
    log = TestLog()
    log.speaks = {"rfc6962"}
    log.add(ours(1))
    big = make_leaf(bytes((1 << 24) - 100), BEGIN_MS)
    log.append(big, b"\0\0\0", b"\0\0")
    log.add(ours(3))
    log.publish()
    with serving(log):
        reading = Reading(tmp_path, log, timeout="60s")
        await reading.once()
        assert sorted(int(each.rpartition("/")[2]) for each in reading.found()) == [0, 2]
        assert reading.state(log)["ct_size"] == 3


async def test_one_log_that_fails_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.ct.requests.FIRST_PAUSE", 0.01)
    bad, good = TestLog(name="bad"), TestLog(name="good", number=52)
    for each in (bad, good):
        each.speaks = {"rfc6962"}
        each.add(ours(1))
        each.publish()
    bad.tamper = lambda path, query, answer: Answer(500, b"")
    with serving(bad, good):
        reading = Reading(tmp_path, bad, good)
        await reading.once()
        assert [each.split("/")[-2] for each in reading.found()] == ["good"]
        (message,) = reading.memory.errors.values()
        assert "answers 500" in message
