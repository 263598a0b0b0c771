"""Killed processes, full disks, files that cannot be written or were damaged: a clear error, no finished scan lost,
nothing wrongly retired, and it goes on when the cause is gone."""

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.inventory import open_inventory, sqlite
from certwatch.inventory.store import FindingQuery, InventoryError, Query, Store
from certwatch.model.location import LocationURI
from certwatch.model.observation import Observation
from certwatch.plugins.testing import EPOCH
from tests.faults import recording
from tests.support.inventories import Tried, opened
from tests.support.numbered import NumberedCertificates

pytestmark = pytest.mark.faults

#: How often a process is killed; CERTWATCH_KILLS=500 for a long search.
KILLS = int(os.environ.get("CERTWATCH_KILLS", "24"))
PAGE = 4096
CERTIFICATES = NumberedCertificates()


def chances() -> random.Random:
    """Another each time; CERTWATCH_SEED plays one again."""
    seed = int(os.environ.get("CERTWATCH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"CERTWATCH_SEED={seed}")
    return random.Random(seed)  # noqa: S311


def start(path: Path, scan: int, statements: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.recording", str(path), str(scan), str(statements)],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(180)
def test_killed_at_any_statement_no_finished_scan_is_lost_and_nothing_is_wrongly_retired(
    tmp_path: Path,
) -> None:
    path = tmp_path / "inventory.db"
    chance = chances()
    scan, finished = 1, 0
    for _ in range(KILLS):
        # One scan with all that belongs to it is some 300 statements.
        with start(path, scan, chance.randrange(20, 1500)) as process:
            told = [int(line) for line in process.stdout or ()]
        assert process.returncode == -signal.SIGKILL
        finished = max([finished, *told])
        scan = look_over(path, finished) + 1
    assert finished > KILLS / 2, "most of them had time to finish scans"


def look_over(path: Path, finished: int) -> int:
    """Verifies the inventory after a kill; `finished`: the last scan that was told. Gives the last that began."""
    store = open_inventory(f"sqlite://{path}")
    with closing(store.reader()) as reader:
        assert reader.check() == []
    with closing(sqlite3.connect(path)) as rows:
        scans = {
            int((micros / 1e6 - EPOCH.timestamp()) // 60): (status, observations)
            for micros, status, observations in rows.execute(
                "SELECT started_at, status, observations FROM scans"
            )
        }
    # The last commit may have been kept and not told any more.
    complete = max((scan for scan, (status, _) in scans.items() if status == "complete"), default=0)
    assert finished <= complete <= finished + 1
    if complete:
        expected = sum(recording.sees(complete, location) for location in range(recording.LOCATIONS))
        assert scans[complete] == ("complete", expected)
    begun = max(scans, default=0)
    with closing(store.reader()) as reader:
        for location in range(recording.LOCATIONS):
            served = reader.served(recording.uri(location))
            if served is None:
                assert not complete or not recording.sees(complete, location)
                continue
            shown = [each.der for each in served.chain]
            since = [
                [recording.certificate(scan, location)]
                for scan in range(max(1, complete), begun + 1)
                if recording.sees(scan, location)
            ]
            if complete and recording.sees(complete, location):
                assert served.retired_at is None, f"{served.location.uri} was wrongly retired"
                assert served.last_seen >= recording.started_at(complete)
                assert shown in since
            elif complete and served.retired_at is None:
                assert shown in since, "it came back with a scan that was not finished"
    return begun


@pytest.mark.timeout(60)
def test_killed_from_outside_the_next_process_takes_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "inventory.db"
    with start(path, 1, 0) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        store = open_inventory(f"sqlite://{path}")
        with pytest.raises(InventoryError, match=f"process {process.pid} is writing it already") as refused:
            store.writer()
        assert refused.value.kind == "locked"
        with closing(store.reader()) as reader:
            assert reader.served(recording.uri(1)) is not None, "readers are not in anyone's way"
        process.kill()
    writer = store.writer()
    writer.begin_scan("edge", EPOCH + timedelta(days=1))
    writer.close()
    with closing(store.reader()) as reader:
        assert reader.check() == []


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own: only root can have one."""
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system needs root")
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False
    ).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def looks(tried: Tried, first: int, count: int) -> list[Observation]:
    return [
        tried.look(f"tls://198.51.100.{n % 250}:{1000 + n}/", CERTIFICATES.leaf(n), CERTIFICATES.issuer)
        for n in range(first, first + count)
    ]


def fill(tried: Tried) -> tuple[int, list[Observation]]:
    """Records until there is no room: how many looks were kept, and the batch that was refused."""
    scan = tried.writer.begin_scan("filling", tried.clock())
    for first in range(0, 1_000_000, 200):
        batch = looks(tried, first, 200)
        try:
            tried.writer.record(scan, batch, {})
        except InventoryError as error:
            assert error.kind == "full", error
            assert "no space left" in error.message
            assert "inventory.db" in error.message
            return first, batch
    raise AssertionError("it never was full")


def kept_what_was_recorded(tried: Tried, kept: int) -> None:
    """Nothing of the batch that was refused, all of those before."""
    assert tried.reader.check() == []
    assert tried.reader.counts().locations == kept + 1


def goes_on(tried: Tried, refused: list[Observation]) -> None:
    """With room the same writer takes what it had refused."""
    scan = tried.writer.begin_scan("filling", tried.clock.advance(minutes=1))
    assert tried.writer.record(scan, refused, {}).new_certificates >= len(refused)
    assert tried.writer.finish_scan(scan, [], tried.clock.advance(seconds=1)).status == "complete"
    assert tried.reader.check() == []
    assert tried.served("tls://203.0.113.7:443/").retired_at is None


def test_a_full_disk_is_said_and_with_room_the_same_writer_goes_on(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "3m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * (1 << 20))
        with opened("sqlite", disk) as tried:
            tried.record(tried.look("tls://203.0.113.7:443/", CERTIFICATES.leaf(999_999)))
            kept, refused = fill(tried)
            kept_what_was_recorded(tried, kept)
            with pytest.raises(InventoryError) as again:
                tried.record(*refused)
            assert again.value.kind == "full", "as often as it is tried"
            ballast.unlink()
            goes_on(tried, refused)


def test_an_inventory_cannot_be_made_on_a_full_disk_but_once_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        with pytest.raises(InventoryError) as refused:
            open_inventory(f"sqlite://{disk}/inventory.db").writer()
        assert refused.value.kind == "full"
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        with opened("sqlite", disk) as tried:
            tried.record(*looks(tried, 0, 5))


def test_a_file_that_may_not_grow_is_full(tmp_path: Path) -> None:
    with opened("sqlite", tmp_path) as tried:
        tried.record(tried.look("tls://203.0.113.7:443/", CERTIFICATES.leaf(999_999)))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        try:
            kept, refused = fill(tried)
            kept_what_was_recorded(tried, kept)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        goes_on(tried, refused)


@contextmanager
def read_only(tmp_path: Path) -> Iterator[Store]:
    """An inventory with one location, then its folder made read-only."""
    if os.geteuid() == 0:
        with small_disk(tmp_path / "disk", "8m") as disk:
            with opened("sqlite", disk) as tried:
                tried.record(*looks(tried, 0, 1))
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            yield open_inventory(f"sqlite://{disk}/inventory.db")
        return
    with opened("sqlite", tmp_path) as tried:
        tried.record(*looks(tried, 0, 1))
    tmp_path.chmod(0o500)
    (tmp_path / "inventory.db").chmod(0o400)
    (tmp_path / "inventory.db.lock").chmod(0o400)
    try:
        yield open_inventory(f"sqlite://{tmp_path}/inventory.db")
    finally:
        tmp_path.chmod(0o700)


def test_a_read_only_folder_can_be_read_and_says_why_it_is_not_written(tmp_path: Path) -> None:
    with read_only(tmp_path) as store:
        with closing(store.reader()) as reader:
            assert len(list(reader.list(Query(), EPOCH))) == 2
            assert reader.check() == []
        with pytest.raises(InventoryError, match="cannot be written") as refused:
            store.writer()
        assert refused.value.kind == "read-only"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InventoryError) as refused:
        open_inventory(f"sqlite://{tmp_path}/file/inventory.db")
    assert refused.value.kind == "other"
    assert f"{tmp_path}/file/inventory.db" in refused.value.message


def test_another_programs_lock_is_waited_for_and_then_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    with opened("sqlite", tmp_path) as tried:
        with closing(sqlite3.connect(tmp_path / "inventory.db", isolation_level=None)) as shell:
            shell.execute("BEGIN IMMEDIATE")
            with pytest.raises(InventoryError, match="another program holds a lock") as refused:
                tried.writer.begin_scan("edge", tried.clock())
            assert refused.value.kind == "locked"
            assert tried.reader.counts().locations == 0, "readers do not wait"
            shell.execute("ROLLBACK")
        tried.writer.begin_scan("edge", tried.clock())


@pytest.mark.timeout(60)
def test_a_page_damaged_anywhere_gives_the_inventorys_error_or_its_check_says_so(tmp_path: Path) -> None:
    whole = a_whole_file(tmp_path / "source")
    kinds = set()
    for page in range(len(whole) // PAGE):
        path = tmp_path / f"damaged-{page}.db"
        # A page torn, as a failing disk or a copy made while it was written leaves it.
        torn = bytes(range(255, -1, -1)) * (PAGE // 512)
        path.write_bytes(whole[: page * PAGE] + torn + whole[page * PAGE + len(torn) :])
        told = use(path)
        assert told is not None, f"page {page}: damaged, and nothing said so"
        kinds.add(told)
    assert kinds <= {"corrupt", "not-inventory", "check"}


@pytest.mark.timeout(60)
def test_bytes_changed_anywhere_raise_nothing_but_the_inventorys_error(tmp_path: Path) -> None:
    whole = a_whole_file(tmp_path / "source")
    chance = chances()
    for turn in range(60):
        path = tmp_path / f"changed-{turn}.db"
        at, count = chance.randrange(len(whole) - 64), chance.choice([1, 4, 64])
        path.write_bytes(whole[:at] + chance.randbytes(count) + whole[at + count :])
        # Within a text nothing could tell; what counts is that nothing else is raised.
        use(path)


def a_whole_file(folder: Path) -> bytes:
    folder.mkdir()
    with opened("sqlite", folder) as tried:
        tried.record(*looks(tried, 0, 60))
        tried.settle()
    with closing(sqlite3.connect(folder / "inventory.db")) as rows:
        assert rows.execute("PRAGMA freelist_count").fetchone() == (0,), "every page holds something"
    return (folder / "inventory.db").read_bytes()


def use(path: Path) -> str | None:
    """Everything that reads and writes: how the damage was told. None: it was not."""
    try:
        store = open_inventory(f"sqlite://{path}")
        with closing(store.reader()) as reader:
            told = list(reader.check())
            list(reader.live())
            list(reader.list(Query(), EPOCH))
            reader.due(EPOCH, 1000)
            reader.history(LocationURI("tls://198.51.100.1:1001/"))
            list(reader.findings(FindingQuery()))
            reader.last_scans()
        with closing(store.writer()) as writer:
            writer.begin_scan("edge", EPOCH)
    except InventoryError as error:
        assert str(path) in error.message
        return error.kind
    return "check" if told else None


def test_a_file_cut_short_is_corrupt(tmp_path: Path) -> None:
    with opened("sqlite", tmp_path) as tried:
        tried.record(*looks(tried, 0, 60))
    path = tmp_path / "inventory.db"
    os.truncate(path, path.stat().st_size // 2)
    assert use(path) in ("corrupt", "check")
