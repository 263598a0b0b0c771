"""Files that change between two scans."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from certwatch.model.location import file_location
from certwatch.model.observation import Gone, Observation
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import FakeClock, make_certificate
from collectors.file import FileCollector, FileConfig
from collectors.file.follow import affected, watched
from collectors.file.memory import Memory, stamp
from tests.collectors.test_file import LEAF, OTHER, write

pytestmark = pytest.mark.anyio


class Following:
    def __init__(self, collector: FileCollector) -> None:
        self.collector = collector
        self.said: list[Observation | Gone] = []
        self._arrived = asyncio.Event()

    async def listen(self) -> None:
        async with aclosing(cast("Any", self.collector.follow())) as stream:
            async for each in stream:
                self.said.append(each)
                self._arrived.set()

    async def until(self, holds: Callable[[], bool], again: Callable[[], object] | None = None) -> None:
        """`again`: done anew each second until it is told: a change before the watch has begun is not."""
        async with asyncio.timeout(20):
            while not holds():
                if again is not None:
                    again()
                self._arrived.clear()
                try:
                    async with asyncio.timeout(1):
                        await self._arrived.wait()
                except TimeoutError:
                    continue

    def shows(self, path: Path, chain: tuple[bytes, ...]) -> bool:
        place = file_location(str(path))
        return any(
            isinstance(each, Observation) and each.location == place and each.chain == chain
            for each in self.said
        )

    def lost(self, path: Path) -> bool:
        return any(isinstance(each, Gone) and each.location == file_location(str(path)) for each in self.said)


@asynccontextmanager
async def following(*paths: Path | str) -> AsyncIterator[Following]:
    """After one scan, with the watch begun."""
    config = FileConfig(paths=tuple(str(each) for each in paths))
    stage = Following(FileCollector("test", config, CollectorContext(clock=FakeClock())))
    async for _ in stage.collector.collect():
        pass
    task = asyncio.create_task(stage.listen())
    try:
        yield stage
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_what_is_written_comes_and_goes_is_told(tmp_path: Path) -> None:
    site = write(tmp_path / "site.pem", LEAF.chain_pem)
    async with following(tmp_path / "**" / "*.pem") as stage:
        await stage.until(lambda: stage.shows(site, (OTHER.der,)), lambda: site.write_bytes(OTHER.pem))
        fresh = tmp_path / "new" / "deep" / "fresh.pem"
        write(fresh, LEAF.pem)
        await stage.until(lambda: stage.shows(fresh, (LEAF.der,)))
        site.unlink()
        await stage.until(lambda: stage.lost(site))
        shutil.rmtree(tmp_path / "new")
        await stage.until(lambda: stage.lost(fresh))
        # What nobody asked for is not looked at.
        (tmp_path / "note.txt").write_bytes(LEAF.pem)
        other = write(tmp_path / "other.pem", OTHER.pem)
        await stage.until(lambda: stage.shows(other, (OTHER.der,)))
    assert not stage.shows(tmp_path / "note.txt", (LEAF.der,))


async def test_what_kubernetes_swaps_beneath_its_links_is_told(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    write(volume / "..1" / "tls.crt", LEAF.pem)
    os.symlink("..1", volume / "..data")
    os.symlink("..data/tls.crt", volume / "tls.crt")

    def swap() -> None:
        write(volume / "..2" / "tls.crt", OTHER.pem)
        (volume / "..data_tmp").unlink(missing_ok=True)
        os.symlink("..2", volume / "..data_tmp")
        os.replace(volume / "..data_tmp", volume / "..data")

    async with following(volume) as stage:
        await stage.until(lambda: stage.shows(volume / "tls.crt", (OTHER.der,)), swap)


async def test_another_key_beside_it_is_told(tmp_path: Path) -> None:
    site = write(tmp_path / "site.pem", LEAF.chain_pem)
    write(tmp_path / "site.key", LEAF.key_pem)
    foreign = make_certificate(key_number=77).key_pem
    async with following(site) as stage:
        await stage.until(
            lambda: any(
                isinstance(each, Observation) and each.facts.get("key_match") is False for each in stage.said
            ),
            lambda: (tmp_path / "site.key").write_bytes(foreign),
        )


def test_the_root_is_not_watched_and_files_have_their_folders(tmp_path: Path) -> None:
    where = watched(["/**/*.pem", f"{tmp_path}/*/x.pem", f"{tmp_path}/a.pem", str(tmp_path)])
    assert where.deep == (tmp_path,)
    assert where.flat == ()
    assert watched([f"{tmp_path}/sub/a.pem"]).flat == (tmp_path / "sub",)


def test_folders_with_odd_names_are_looked_into(tmp_path: Path) -> None:
    path = write(tmp_path / "a[1]*" / "b.pem", LEAF.pem)
    found, folders = affected([str(path)], [str(tmp_path)], [])
    assert [each.path for each, _ in found] == [str(path)]
    assert folders == {str(path.parent)}


# -- what is remembered


def remembered(path: Path, beside: tuple[str, ...] = ()) -> Memory:
    from collectors.file.contents import Contents

    memory = Memory()
    memory.begin()
    memory.keep(str(path), stamp(str(path)), (Contents(chain=(b"x",), beside=beside),), named=False)
    return memory


@pytest.mark.parametrize("settled", [True, False])
def test_a_key_that_comes_beside_it_makes_it_read_anew(tmp_path: Path, settled: bool) -> None:
    site = write(tmp_path / "site.pem", LEAF.pem)
    if settled:
        os.utime(tmp_path, (1, 1))
    memory = remembered(site, (str(tmp_path / "site.key"), str(tmp_path / "none" / "site.key")))
    memory.begin()
    assert memory.recall(str(site), named=False) is not None
    # Something else in the folder is no reason.
    write(tmp_path / "stranger", b"")
    memory.begin()
    assert memory.recall(str(site), named=False) is not None
    write(tmp_path / "site.key", LEAF.key_pem)
    memory.begin()
    assert memory.recall(str(site), named=False) is None


def test_a_changed_file_and_a_changed_key_are_read_anew(tmp_path: Path) -> None:
    site, key = write(tmp_path / "site.pem", LEAF.pem), write(tmp_path / "site.key", LEAF.key_pem)
    memory = remembered(site, (str(key),))
    assert memory.recall(str(site), named=True) is None
    key.write_bytes(b"another")
    assert memory.recall(str(site), named=False) is None
    memory = remembered(site)
    site.write_bytes(OTHER.pem + b"\n")
    assert memory.recall(str(site), named=False) is None
