"""What a worker holds, and what it has lost."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from certwatch.inventory.shards import Claimed, SupersededError
from certwatch.inventory.store import Recorded
from certwatch.model.observation import Observation, ScanID
from certwatch.plugins.testing import FakeClock, make_certificate
from certwatch.zones.outcome import Outcome
from certwatch.zones.perform import Lost, Workplace, perform
from certwatch.zones.spec import Spec


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def given(shard: int, claim: int = 1) -> Claimed:
    return Claimed(shard=shard, claim=claim, scan=ScanID(1), part=0, parts=1, spec="{}")


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def lost(time: Time) -> Lost:
    return Lost(time, 30.0)


def test_what_the_database_gave_to_another_is_lost_and_nothing_else(lost: Lost) -> None:
    one, two = lost.hold(given(1)), lost.hold(given(2))
    held = lost.held()
    # Claimed while the database was being asked.
    three = lost.hold(given(3))
    lost.kept(0.0, frozenset({(2, 1)}), held)
    assert [one.is_set(), two.is_set(), three.is_set()] == [True, False, False]


def test_everything_is_lost_after_a_lease_without_a_word_and_that_is_said_once(
    lost: Lost, time: Time
) -> None:
    event = lost.hold(given(1))
    time.now = 30.0
    assert (lost.expire(), event.is_set()) == (False, False)
    time.now = 30.1
    assert (lost.expire(), lost.expire(), event.is_set()) == (True, False, True)
    # What it takes after it was heard again is its own.
    lost.drop(given(1))
    lost.kept(31.0, frozenset(), frozenset())
    later = lost.hold(given(2))
    time.now = 60.0
    assert (lost.expire(), later.is_set()) == (False, False)


def test_the_word_counts_from_when_it_was_asked_for(lost: Lost, time: Time) -> None:
    event = lost.hold(given(1))
    time.now = 29.0
    lost.kept(0.0, lost.held(), lost.held())
    time.now = 31.0
    assert lost.expire()
    assert event.is_set()


def test_what_the_database_takes_for_its_own_and_it_does_not_know_is_given_back(lost: Lost) -> None:
    lost.hold(given(1))
    still = frozenset({(1, 1), (2, 1), (3, 1)})
    assert lost.orphans(still, frozenset({(3, 1)})) == frozenset(), "its answer may be on the way"
    assert lost.orphans(still, frozenset({(3, 1)})) == {(2, 1)}
    lost.hold(given(2))
    assert lost.orphans(still, frozenset({(3, 1)})) == frozenset()
    assert lost.orphans(still) == frozenset()
    assert lost.orphans(still) == {(3, 1)}


def test_a_shard_that_is_lost_by_name_is_told_to_its_task(lost: Lost) -> None:
    event = lost.hold(given(7, 2))
    lost.lose(7, 1)
    before = event.is_set()
    lost.lose(7, 2)
    assert (before, event.is_set()) == (False, True)


@dataclass
class Desk:
    """One that takes nothing."""

    released: list[int] = field(default_factory=list)

    async def record(
        self, given: Claimed, number: int, batch: Sequence[Observation], labels: Mapping[str, str]
    ) -> Recorded | None:
        raise SupersededError("refused")

    async def finish(self, given: Claimed, outcome: Outcome) -> None:
        raise AssertionError("there is nothing to be ended")

    async def release(self, given: Claimed, *, failed: bool = False) -> None:
        self.released.append(given.claim)


def test_what_the_desk_does_not_take_is_given_back(tmp_path: Path) -> None:
    # Of what the daemon's port had refused, the desk says so at the end: without one, others began it anew and were refused.
    (tmp_path / "leaf.pem").write_bytes(make_certificate().pem)
    spec = Spec(name="files", kind="file", labels={}, config={"paths": [f"{tmp_path}/leaf.pem"]})
    given = Claimed(
        shard=7, claim=3, scan=ScanID(1), part=0, parts=1, spec=msgspec.json.encode(spec).decode()
    )
    desk = Desk()
    place = Workplace(env={}, clock=FakeClock())
    asyncio.run(perform(given, desk, place, asyncio.Event()))
    assert desk.released == [3]
