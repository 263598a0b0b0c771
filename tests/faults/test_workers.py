"""Workers, daemon, database and network fail in the middle of a scan: it ends as a quiet one does."""

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from certwatch.config.schema import WorkersKeys
from certwatch.inventory.store import InventoryError
from certwatch.plugins.testing import FakeClock
from certwatch.zones.dispatch import Dispatcher, _never
from certwatch.zones.queue import make_app
from tests.support import postgresql_inventories
from tests.support.delayed import delayed_site
from tests.support.partition import way
from tests.support.servers import free_port
from tests.support.zones import Stage, stage

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

NAME = "www.example.com"
ADDRESSES, PART = 64, 8


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Stage]:
    with postgresql_inventories.empty() as url, stage(tmp_path, url) as it:
        yield it


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A port that takes 300 ms to answer."""
    with delayed_site(tmp_path_factory.mktemp("late"), NAME, 300) as port:
        yield port


def collectors(port: int) -> str:
    """One whose parts take more than a second each."""
    return (
        f" [{{kind: tls, name: edge, zone: dmz, every: 1h, targets: ['127.1.0.0/26:{port}'], server_name: {NAME},"
        " concurrency: 2}]"
    )


def works(staged: Stage, port: int, name: str = "daemon") -> None:
    staged.daemon(collectors(port), name=name, part_looks=PART)


def at_work(staged: Stage, name: str) -> None:
    """Until it is in the middle of a part."""
    worker = staged.workers[name]
    staged.wait(lambda: "shard_started" in worker.log, f"{name} at work")


def whole(staged: Stage) -> None:
    """As a quiet scan ends."""
    scan = staged.scanned("edge")
    assert (scan.status, scan.observations, scan.errors) == ("complete", ADDRESSES, 0), staged.logs
    locations = staged.locations()
    assert len(locations) == ADDRESSES
    assert set(locations.values()) == {1}
    with staged.reader() as reader:
        assert reader.check() == []


def test_a_killed_workers_parts_are_taken_over(staged: Stage, late: int) -> None:
    one = staged.worker("one")
    works(staged, late)
    at_work(staged, "one")
    one.signal(signal.SIGKILL)
    staged.worker("two")
    whole(staged)
    assert "shards_taken_over" in staged.logs


def test_a_worker_that_was_paused_beyond_its_lease_does_no_harm_and_works_on(
    staged: Stage, late: int
) -> None:
    one = staged.worker("one")
    works(staged, late)
    at_work(staged, "one")
    one.signal(signal.SIGSTOP)
    try:
        two = staged.worker("two")
        whole(staged)
        assert "shards_taken_over" in staged.logs
    finally:
        one.signal(signal.SIGCONT)
    staged.wait(
        lambda: "shard_superseded" in one.log or "shard_lost" in one.log, "the paused one to see that it lost"
    )
    whole(staged)
    # It is alone now, and does the next scan.
    two.signal(signal.SIGTERM)
    assert two.end(30) == 0
    done = one.log.count("shard_finished")
    (daemon,) = staged.daemons
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace("every: 1h", "every: 2h"))
    daemon.signal(signal.SIGHUP)
    staged.wait(lambda: one.log.count("shard_finished") == done + ADDRESSES // PART, "the next scan", 90)


def test_a_database_that_crashes_in_the_middle_loses_nothing(staged: Stage, late: int) -> None:
    staged.worker("one")
    works(staged, late)
    at_work(staged, "one")
    before = checkpointer()
    with postgresql_inventories.server().administrator("postgres") as connection:
        found = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        # The server takes this for a crash: it throws everybody out and recovers what was committed.
        os.kill(int(found), signal.SIGKILL)
    whole(staged)
    assert checkpointer() != before


def test_a_worker_waits_for_a_database_that_is_read_only(staged: Stage, late: int) -> None:
    # As one that fails over is for a while. The worker ended.
    one = staged.worker("one")
    database = staged.url.rpartition("/")[2]
    run = postgresql_inventories.server().run
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"  # noqa: S608
    try:
        run(f"ALTER DATABASE {database} SET default_transaction_read_only = on", database="postgres")
        run(cut, database="postgres")
        staged.wait(lambda: one.log.count("worker_cut_off") >= 2, "the worker to find out")
    finally:
        run(f"ALTER DATABASE {database} RESET default_transaction_read_only", database="postgres")
        run(cut, database="postgres")
    works(staged, late)
    whole(staged)
    assert one.process.poll() is None


def test_zones_are_reached_again_though_the_queue_could_not_be_opened_at_first(staged: Stage) -> None:
    # Its pool was closed for ever when it was not filled in time: no zone was scanned until the daemon was started again.
    async def tried() -> None:
        dispatcher = Dispatcher(staged.url, WorkersKeys(), FakeClock())
        dispatcher._app = make_app(f"postgresql://127.0.0.1:{free_port()}/none", _never)
        with pytest.raises(InventoryError, match="the queue cannot be reached"):
            await dispatcher._open()
        assert await dispatcher.take("dmz") is None
        await dispatcher.close()

    asyncio.run(tried())


def checkpointer() -> object:
    """Since when the server's has been there: a crash gives it another one."""
    with postgresql_inventories.server().administrator("postgres") as connection:
        return connection.execute(
            sa.text("SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
        ).scalar_one()


def test_a_worker_that_is_cut_off_loses_its_parts_and_comes_back(staged: Stage, late: int) -> None:
    with way(postgresql_inventories.server().port) as between:
        url = re.sub(r":\d+/", f":{between.port}/", staged.url)
        one = staged.worker("one", url=url)
        works(staged, late)
        at_work(staged, "one")
        between.cut()
        two = staged.worker("two")
        whole(staged)
        assert "worker_lost_lease" in one.log, staged.logs
        assert "shard_finished" in two.log
        between.mend()
        staged.wait(lambda: staged.alive() == 2, "one is back")
        whole(staged)


def test_another_daemon_goes_on_with_the_scan(staged: Stage, late: int) -> None:
    staged.worker("one")
    works(staged, late, "first")
    works(staged, late, "second")
    at_work(staged, "one")
    first, second = staged.daemons
    first.signal(signal.SIGKILL)
    staged.wait(lambda: "scan_resumed" in second.log, "the second daemon")
    whole(staged)
    scan = staged.last_scan("edge")
    assert scan is not None
    assert f"scan={scan.id}" in first.log, "it is the scan that the first one began"


def test_of_a_collector_that_was_taken_out_while_no_daemon_ran_nothing_is_left(
    staged: Stage, late: int
) -> None:
    one = staged.worker("one")
    works(staged, late, "first")
    at_work(staged, "one")
    (first,) = staged.daemons
    first.signal(signal.SIGKILL)
    first.end()
    # Its parts are in a worker's hands yet, and what that hands in from now on is nobody's.
    second = staged.daemon(" []", name="second", part_looks=PART)
    staged.wait(
        lambda: (
            one.log.count("shard_started") == len(re.findall("shard_(finished|superseded|lost)", one.log))
        ),
        "the worker to come to an end",
    )
    second.signal(signal.SIGTERM)
    assert second.end() == 0
    assert staged.locations() == {}
    listed = one.command("worker", "--list", "--json")
    assert '"waiting": 0, "running": 0' in " ".join(listed.stdout.split())
