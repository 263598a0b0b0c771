"""Logs that try to break who reads them, states that are damaged, and lists that fail: nothing is believed, missed, or forgotten."""

import base64
import gzip
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certwatch.ct.leaves import leaf_index_extension, make_leaf
from certwatch.ct.log_list import Log
from certwatch.model.location import LocationURI
from certwatch.plugins.testing import EPOCH
from collectors.ct.heads import judge_head
from tests.collectors.ct_stage import Reading, log_with_one_of_ours, ordinary, ours, prove
from tests.support.ct_log import BEGIN_MS, Answer, TestLog, log_list, serving

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(params=["rfc6962", "static"])
def log(request: pytest.FixtureRequest) -> TestLog:
    return log_with_one_of_ours(request.param)


@pytest.fixture
def reading(log: TestLog, tmp_path: Path) -> Iterator[Reading]:
    with serving(log):
        yield Reading(tmp_path, log, static="static" in log.speaks)


Change = Callable[[bytes, random.Random], bytes]


def flipped(body: bytes, chance: random.Random) -> bytes:
    changed = bytearray(body or b"x")
    for _ in range(chance.choice((1, 3, 50))):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def cut(body: bytes, chance: random.Random) -> bytes:
    return body[: chance.randrange(len(body) + 1)]


#: What no field of theirs may be.
_ODD: tuple[Any, ...] = (
    None,
    -1,
    0,
    2**63 - 1,
    2**64,
    10**400,
    1.5,
    "",
    "===",
    "AA==",
    "é",
    [],
    [[]],
    {},
    True,
    "A" * 100_000,
)


def swapped(body: bytes, chance: random.Random) -> bytes:
    """A field of the JSON, or a line of the checkpoint, is something else."""
    odd = chance.choice(_ODD)
    try:
        said = json.loads(body)
    except ValueError:
        lines = body.split(b"\n")
        lines[chance.randrange(len(lines))] = str(odd)[:5000].encode()
        return b"\n".join(lines)
    fields: list[tuple[object, object]] = []

    def walk(each: object) -> None:
        parts = each.items() if isinstance(each, dict) else enumerate(each) if isinstance(each, list) else ()
        for place, value in parts:
            fields.append((each, place))
            walk(value)

    walk(said)
    if fields:
        holder, place = chance.choice(fields)
        holder[place] = odd  # type: ignore[index]
    return json.dumps(said).encode()


BOMB = gzip.compress(bytes(50 << 20), 1)
CHANGES: dict[str, Change] = {
    "flipped": flipped,
    "cut": cut,
    "swapped": swapped,
    "doubled": lambda body, chance: body + body,
    "noise": lambda body, chance: chance.randbytes(chance.choice((0, 1, 1000, 100_000))),
    "deep": lambda body, chance: b'{"entries":' * 5000 + b"[" * 100_000,
    "bomb": lambda body, chance: BOMB,
}
#: Steps of reading, by what their paths begin with.
STEPS = ("ct/v1/get-sth", "ct/v1/get-entries", "ct/v1/get-sth-consistency", "ct/v1/get-entry-and-proof", "checkpoint", "tile/data",
         "tile/", "issuer/")  # fmt: skip


@pytest.mark.parametrize("how", CHANGES)
async def test_whatever_a_log_answers_only_what_is_proven_is_told(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step of reading, changed at random; another log is read on beside it. The seed is printed."""
    monkeypatch.setattr("collectors.ct.requests.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("collectors.ct.requests.TRIES", 1)
    seed = random.randrange(10**6)  # noqa: S311
    print(f"seed {seed}")
    chance = random.Random(seed)  # noqa: S311
    for static in (False, True):
        step = ""

        def lie(path: str, query: Mapping[str, str], answer: Answer) -> Answer:
            if not path.startswith(step) or answer.status != 200:  # noqa: B023
                return answer
            headers = {"Content-Encoding": "gzip"} if how == "bomb" else {}
            return Answer(200, CHANGES[how](answer.body, chance), headers)

        liar, honest = TestLog(indexed=static, name="liar"), TestLog(indexed=static, number=51, name="honest")
        for log in (liar, honest):
            log.speaks = {"static" if static else "rfc6962"}
            for index in range(300):
                log.add(ours(index) if index == 200 else ordinary(index))
            log.publish()
        liar.tamper = lie
        folder = tmp_path / f"{static}"
        folder.mkdir()
        with serving(liar, honest):
            reading = Reading(folder, liar, honest, static=static)
            for each in [each for each in STEPS if each.startswith("ct/") is not static]:
                step = each
                # Its last state is forgotten half of the time, so that each step is taken.
                for log in (liar, honest):
                    log.add(ordinary(1000 + len(log.leaves)))
                    log.publish()
                start = chance.choice(("beginning", "end", "2026-11-24"))
                if chance.random() < 0.5:
                    reading.memory.kept.pop(f"ct-log://{liar.url.partition('://')[2]}", None)
                await reading.once(start=start)
                assert reading.failed == ""
                assert reading.state(honest)["ct_size"] == honest.published
            for uri, found in reading.found().items():
                prove(found, liar if "/liar/" in uri else honest)


async def test_a_bug_that_one_log_brings_out_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = TestLog(name="bad"), TestLog(name="good", number=52)
    for each in (bad, good):
        each.speaks = {"rfc6962"}
        each.add(ours(1))
        each.publish()

    async def judge(log: Log, *rest: Any, **more: Any) -> Any:
        if log.name.endswith("bad"):
            raise ZeroDivisionError
        return await judge_head(log, *rest, **more)

    monkeypatch.setattr("collectors.ct.follow.judge_head", judge)
    with serving(bad, good):
        reading = Reading(tmp_path, bad, good)
        await reading.once()
        assert [each.split("/")[-2] for each in reading.found()] == ["good"]
        assert ["ZeroDivisionError" in each for each in reading.memory.errors.values()] == [True]


async def test_a_head_from_the_future_is_a_fault_until_there_is_another(
    reading: Reading, log: TestLog
) -> None:
    """By it a log could do without another for years, and go back without its being noticed."""
    log.publish(at=round((EPOCH + timedelta(days=3000)).timestamp() * 1000))
    await reading.once()
    assert [each["kind"] for each in reading.faults(log)] == ["from-the-future"]
    assert len(reading.found()) == 1
    log.add(ordinary(1))
    log.published, log.published_at = 701, round(EPOCH.timestamp() * 1000)
    await reading.once()
    assert reading.faults(log) == []


@pytest.mark.parametrize("days", [-4000, 4000])
async def test_a_clock_of_ours_that_is_wrong_accuses_no_log(tmp_path: Path, days: int) -> None:
    logs = [TestLog(name=f"log{each}", number=50 + each) for each in range(3)]
    for log in logs:
        log.speaks = {"rfc6962"}
        log.add(ours(1), at=round(EPOCH.timestamp() * 1000) - 1000)
        log.publish(at=round(EPOCH.timestamp() * 1000))
        log.date = EPOCH
    with serving(*logs):
        reading = Reading(tmp_path, *logs)
        plugin = reading.plugin(log_list=reading.write_list())
        await reading.run(plugin)
        assert len(reading.found()) == 3
        reading.clock.advance(days=days)
        await reading.run(plugin)
        assert [reading.faults(each) for each in logs] == [[], [], []]
        # One that is late itself cannot hide it by its own server's time, where others say another.
        reading.clock.advance(days=3 - days)
        for log in logs[1:]:
            log.publish(at=round((EPOCH + timedelta(days=3)).timestamp() * 1000))
            log.date = EPOCH + timedelta(days=3)
        # By the clock that nobody sets, no days went by here: what was heard before is heard anew first.
        await reading.run(plugin)
        await reading.run(plugin)
        assert [[each["kind"] for each in reading.faults(log)] for log in logs] == [["past-mmd"], [], []]


async def test_an_entry_that_says_another_index_is_a_fault(tmp_path: Path) -> None:
    log = TestLog(indexed=True)
    log.speaks = {"static"}
    for index in range(300):
        log.add(ordinary(index))
    leaf = make_leaf(ours(1), BEGIN_MS, extensions=leaf_index_extension(7))
    log.append(leaf, b"\0\0\0", b"\0\0")
    log.publish()
    with serving(log):
        reading = Reading(tmp_path, log, static=True)
        await reading.once()
        assert [each["kind"] for each in reading.faults(log)] == ["wrong-index"]
        assert "300" in reading.faults(log)[0]["detail"]
        assert "7" in reading.faults(log)[0]["detail"]
        assert len(reading.found()) == 1


@pytest.mark.parametrize("how", ["no JSON", "bit", "size", "fault"])
async def test_a_state_that_is_damaged_is_not_held_against_the_log(
    reading: Reading, log: TestLog, how: str
) -> None:
    """It is begun again from when watching began, and nothing is passed over; no log is accused."""
    await reading.once(start="end")
    log.add(ours(900), at=round(EPOCH.timestamp() * 1000) + 1)
    log.publish(at=round(EPOCH.timestamp() * 1000) + 1000)
    uri = LocationURI("ct-log://" + log.url.partition("://")[2])
    kept = reading.memory.kept[uri]
    facts = dict(kept.facts)
    mark = json.loads(str(facts["ct_mark"]))
    if how == "bit":
        peak = bytearray(base64.b64decode(mark["peaks"][0]))
        peak[5] ^= 1
        mark["peaks"][0] = base64.b64encode(peak).decode()
    if how == "size":
        mark["head"]["tree_size"] += 1
    facts["ct_mark"] = "{" if how == "no JSON" else json.dumps(mark)
    if how == "fault":
        facts["ct_faults"] = '[{"kind": "made-up"}]'
    reading.memory.kept[uri] = replace(kept, facts=facts)
    await reading.once(start="end")
    assert reading.faults(log) == []
    assert "700" in {each.rpartition("/")[2] for each in reading.found()}


async def test_matches_of_great_size_are_not_piled_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collectors.ct.follow.MOST_BYTES_WAITING", 1 << 20)
    log = TestLog(indexed=True)
    log.speaks = {"static"}
    for index in range(700):
        log.add(ours(index, name=f"www{'x' * 4000}.example.com") if index % 2 else ordinary(index))
    log.publish()
    with serving(log):
        reading = Reading(tmp_path, log, static=True)
        said = await reading.once()
        sizes = [each.facts["ct_size"] for each in said if each.location.startswith("ct-log://")]
        # Proven and told in several stretches, each of a few tiles.
        assert len(set(sizes)) > 2
        assert len(reading.found()) == 350


async def test_the_last_list_is_gone_on_with_when_there_is_none(reading: Reading, log: TestLog) -> None:
    plugin = reading.plugin(log_list=reading.write_list())
    await reading.run(plugin)
    assert len(reading.found()) == 1
    log.add(ours(701))
    log.publish()
    (reading.folder / "log_list.json").unlink()
    await reading.run(plugin)
    assert reading.failed == ""
    assert len(reading.found()) == 2
    (reading.folder / "log_list.json").write_text("<html>")
    log.add(ours(702))
    log.publish()
    await reading.run(plugin)
    assert len(reading.found()) == 3


async def test_an_empty_watch_list_is_an_error(reading: Reading, tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.write_text("# nothing\n")
    await reading.once(domains=[], domains_file=str(names))
    assert "nothing to watch" in reading.failed
    assert str(names) in reading.failed


ODD_URLS = (
    "http://127.0.0.1:1/log",
    "http://127.0.0.1:99999/log",
    "http://[::1]:1/log/",
    "http://[::1/log",
    "http://127.0.0.1:1/a/../../b//",
    "http://127.0.0.1:1/%2e%2e/%00",
    "http://xn--a.invalid/log",
    "http://b\u00fccher.invalid/log",
    "http://user:password@127.0.0.1:1/log",
    "http://169.254.169.254/latest",
    "ftp://127.0.0.1/log",
    "file:///etc/passwd",
    "http://",
    "",
    "http://" + "a" * 250 + ".invalid/",
    "http://127.0.0.1:1/" + "x" * 500,
    17,
)


async def test_a_list_of_many_logs_with_odd_urls_hides_no_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collectors.ct.requests.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("collectors.ct.requests.TRIES", 1)
    good = TestLog(name="good")
    good.speaks = {"rfc6962"}
    good.add(ours(1))
    good.publish()
    with serving(good):
        reading = Reading(tmp_path, good)
        said = json.loads(log_list(good.list_entry()))
        (entry,) = said["operators"][0]["logs"]
        odd = [{**entry, "url": each} for each in ODD_URLS]
        odd += [{**entry, "url": f"http://127.0.0.1:1/log{each}"} for each in range(150)]
        said["operators"][0]["logs"] = [*odd, entry]
        path = tmp_path / "odd.json"
        path.write_text(json.dumps(said))
        await reading.once(log_list=str(path))
        assert reading.failed == ""
        assert len(reading.found()) == 1
        assert not any("password" in each for each in (*reading.memory.kept, *reading.memory.errors))
        # Beyond that it is no list of logs.
        said["operators"][0]["logs"] = odd * 7
        path.write_text(json.dumps(said))
        await reading.once(log_list=str(path))
        assert "more than 1000 logs" in reading.failed
