import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from certwatch.engine import batches, follow
from certwatch.engine.collect import CollectorJob, run_scan
from certwatch.engine.follow import Followers
from certwatch.inventory.store import InventoryError
from certwatch.model.location import LocationURI
from certwatch.model.observation import Gone, Incomplete, Observation
from certwatch.plugins.collector import CollectorConfig
from certwatch.plugins.testing import FakeClock, Issued, make_certificate
from tests.engine.stage import Stage, stage

pytestmark = pytest.mark.anyio

FIRST = make_certificate()
SECOND = make_certificate(names=["dns:new.example.com"])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_SECONDS", 0.01)
    monkeypatch.setattr(follow, "BATCH_SECONDS", 0.01)


class Following:
    """Sees what it is given, and tells the changes that are put into `told`."""

    Config: ClassVar[type[CollectorConfig]] = CollectorConfig

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.places = {"x://a": FIRST}
        self.told: asyncio.Queue[Any] = asyncio.Queue()
        self.follows = 0
        self.closed = asyncio.Event()

    def look(self, place: str, issued: Issued) -> Observation:
        return Observation(location=LocationURI(place), observed_at=self.clock(), chain=issued.chain_der)

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        for place, issued in self.places.items():
            yield self.look(place, issued)

    async def follow(self) -> AsyncIterator[Observation | Gone]:
        self.follows += 1
        try:
            while True:
                said = await self.told.get()
                self.told.task_done()
                if isinstance(said, Exception):
                    raise said
                yield said
        finally:
            self.closed.set()


class Life:
    def __init__(self, life: Stage) -> None:
        self.stage = life
        self.collector = Following(life.clock)
        self.changes = asyncio.Event()
        self.followers = Followers(life.writer, life.clock, self.changes.set, retry_seconds=0.01)
        self.job = CollectorJob(
            name="edge",
            kind="scripted",
            build=lambda: self.collector,
            every=timedelta(hours=1),
            labels={"team": "a"},
        )

    async def scan(self) -> None:
        async with self.followers.scanning(self.job, self.collector):
            await run_scan(self.job, self.collector, self.stage.writer, self.stage.clock)

    async def say(self, *said: Any) -> None:
        self.changes.clear()
        for each in said:
            self.collector.told.put_nowait(each)
        async with asyncio.timeout(5):
            await self.changes.wait()

    def gone(self, place: str) -> Gone:
        return Gone(location=LocationURI(place), observed_at=self.stage.clock())


async def test_a_change_is_recorded_at_once_with_the_configured_labels(tmp_path: Path) -> None:
    async with stage(tmp_path) as stage_:
        life = Life(stage_)
        await life.scan()
        stage_.clock.advance(seconds=1)
        await life.say(life.collector.look("x://b", SECOND))
        served = stage_.served("x://b")
        assert served.leaf is not None
        assert served.leaf.der == SECOND.der
        assert served.location.labels == {"team": "a"}
        await life.followers.stop()
        assert life.collector.closed.is_set()


async def test_what_is_gone_is_retired_and_comes_back_with_its_history(tmp_path: Path) -> None:
    async with stage(tmp_path) as stage_:
        life = Life(stage_)
        await life.scan()
        stage_.clock.advance(seconds=1)
        await life.say(life.gone("x://a"))
        assert stage_.served("x://a").retired_at is not None
        stage_.clock.advance(seconds=1)
        await life.say(life.collector.look("x://a", FIRST))
        assert stage_.served("x://a").retired_at is None
        await life.followers.stop()


async def test_gone_and_seen_again_in_one_breath_ends_as_seen(tmp_path: Path) -> None:
    async with stage(tmp_path) as stage_:
        life = Life(stage_)
        await life.scan()
        stage_.clock.advance(seconds=1)
        gone = life.gone("x://a")
        stage_.clock.advance(seconds=1)
        await life.say(gone, life.collector.look("x://a", SECOND), life.collector.look("x://b", SECOND))
        while stage_.served("x://a").retired_at is not None:
            life.changes.clear()
            await life.changes.wait()
        served = stage_.served("x://a").leaf
        assert served is not None
        assert served.der == SECOND.der
        await life.followers.stop()


async def test_a_scan_that_saw_a_place_later_knows_better_than_its_going(tmp_path: Path) -> None:
    async with stage(tmp_path) as stage_:
        life = Life(stage_)
        gone = life.gone("x://a")
        stage_.clock.advance(seconds=1)
        await life.scan()
        await life.say(gone, life.collector.look("x://b", SECOND))
        assert stage_.served("x://a").retired_at is None
        await life.followers.stop()


async def test_changes_during_a_scan_are_recorded_after_it(tmp_path: Path) -> None:
    async with stage(tmp_path) as stage_:
        life = Life(stage_)
        await life.scan()
        async with life.followers.scanning(life.job, life.collector):
            life.collector.told.put_nowait(life.collector.look("x://b", SECOND))
            await life.collector.told.join()
            with pytest.raises(AssertionError):
                stage_.served("x://b")
            life.changes.clear()
        async with asyncio.timeout(5):
            await life.changes.wait()
        assert stage_.served("x://b").leaf is not None
        await life.followers.stop()


async def test_a_follower_that_fails_is_followed_again(tmp_path: Path) -> None:
    async with stage(tmp_path) as stage_:
        life = Life(stage_)
        await life.scan()
        stage_.clock.advance(seconds=1)
        await life.say(RuntimeError("oh"), life.collector.look("x://b", SECOND))
        assert life.collector.follows == 2
        assert stage_.served("x://b").leaf is not None
        await life.followers.stop()


async def test_a_collector_that_is_configured_no_more_is_followed_no_more(tmp_path: Path) -> None:
    async with stage(tmp_path) as stage_:
        life = Life(stage_)
        await life.scan()
        await life.say(life.collector.look("x://b", SECOND))
        await life.followers.keep({"edge": life.collector})
        assert not life.collector.closed.is_set()
        await life.followers.keep({})
        assert life.collector.closed.is_set()


async def test_changes_of_who_never_scanned_are_refused(tmp_path: Path) -> None:
    async with stage(tmp_path) as stage_:
        look = Following(stage_.clock).look("x://a", FIRST)
        with suppress(AssertionError), pytest.raises(InventoryError):
            await stage_.writer.call(lambda it: it.record_changes("nobody", [look], {}, [], stage_.clock()))
