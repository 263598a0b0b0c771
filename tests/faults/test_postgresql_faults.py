"""A server that is killed, loses what it had said, or cannot be reached; a move that dies half-way: no finished result lost,
nothing wrongly retired."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest

from certwatch.inventory import open_inventory
from certwatch.inventory.migrate import migrate
from certwatch.inventory.postgresql.store import Line
from certwatch.inventory.store import InventoryError, Reader, Writer
from certwatch.model.location import LocationURI
from certwatch.model.observation import Observation, Scan
from certwatch.plugins.testing import EPOCH
from tests.support import postgresql_inventories
from tests.support.databases import PostgreSQLCluster, postgresql_cluster
from tests.support.frozen_proxy import frozen_proxy
from tests.support.numbered import NumberedCertificates
from tests.support.servers import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

CERTIFICATES = NumberedCertificates()
PLACES, BATCH = 100, 10


def looks(round: int) -> list[Observation]:
    """Every third place is renewed by each round; each round leaves ten out, others each time."""
    return [
        Observation(
            location=LocationURI(f"tls://203.0.113.7:{place + 1}/"),
            observed_at=at(round),
            chain=(CERTIFICATES.leaf(place + PLACES * ((round + place) // 3)),),
        )
        for place in range(PLACES)
        if not round * 10 <= place < round * 10 + 10
    ]


def at(round: int) -> datetime:
    return EPOCH + timedelta(hours=round)


def scan(writer: Writer, round: int, *, after_batch: Event | None = None) -> Scan:
    begun = writer.begin_scan("edge", at(round))
    seen = looks(round)
    for number, start in enumerate(range(0, len(seen), BATCH)):
        writer.record(begun, seen[start : start + BATCH])
        if after_batch is not None and number == 3:
            after_batch.set()
    return writer.finish_scan(begun, [], at(round) + timedelta(minutes=1))


def known(reader: Reader) -> list[tuple[str, list[bytes], bool, int]]:
    """Of each place: what it serves, whether it is retired, how many certificates it ever had."""
    found: list[tuple[str, list[bytes], bool, int]] = []
    for place in range(PLACES):
        served = reader.served(LocationURI(f"tls://203.0.113.7:{place + 1}/"))
        if served is not None:
            found.append(
                (
                    served.location.uri,
                    [each.der for each in served.chain],
                    served.retired_at is not None,
                    len(reader.history(served.location.uri)),
                )
            )
    return found


def quiet(folder: Path, rounds: Sequence[int]) -> list[tuple[str, list[bytes], bool, int]]:
    store = open_inventory(f"sqlite://{folder}/quiet.db")
    with closing(store.writer()) as writer, closing(store.reader()) as reader:
        for round in rounds:
            scan(writer, round)
        return known(reader)


def url_of(cluster: PostgreSQLCluster) -> str:
    return f"postgresql://admin@127.0.0.1:{cluster.server.port}/ca"


def test_a_server_killed_in_the_middle_of_a_scan_costs_nothing(tmp_path: Path) -> None:
    with ExitStack() as stack:
        cluster = stack.enter_context(postgresql_cluster())
        store = open_inventory(url_of(cluster))
        writer, reader = (
            stack.enter_context(closing(store.writer())),
            stack.enter_context(closing(store.reader())),
        )
        scan(writer, 1)
        ended: list[Scan] = []
        under_way = Event()
        recording = Thread(target=lambda: ended.append(scan(writer, 2, after_batch=under_way)))
        recording.start()
        assert under_way.wait(60)
        cluster.kill()
        cluster.start()
        recording.join(120)
        # It is not known what the server may have forgotten: nothing is retired by this one.
        assert [(each.status, each.observations) for each in ended] == [("partial", PLACES - 10)]
        assert ended[0].error is not None and "restarted" in ended[0].error.message
        assert not any(retired for _, _, retired, _ in known(reader))
        assert scan(writer, 3).status == "complete"
        # But for the history of those that a scan alone would have retired.
        assert [row[:3] for row in known(reader)] == [row[:3] for row in quiet(tmp_path, (1, 2, 3))]
        assert reader.check() == []


def test_what_a_server_forgot_that_it_had_kept_retires_nothing(tmp_path: Path) -> None:
    # As one does that takes over and was behind: committed, and gone.
    with ExitStack() as stack:
        cluster = stack.enter_context(
            postgresql_cluster("synchronous_commit=off", "wal_writer_delay=10000ms")
        )
        store = open_inventory(url_of(cluster))
        writer, reader = (
            stack.enter_context(closing(store.writer())),
            stack.enter_context(closing(store.reader())),
        )
        scan(writer, 1)
        begun = writer.begin_scan("edge", at(2))
        cluster.server.run("CHECKPOINT")
        seen = looks(2)
        writer.record(begun, seen[: PLACES // 2])
        cluster.kill()
        cluster.start()
        writer.record(begun, seen[PLACES // 2 :])
        ended = writer.finish_scan(begun, [], at(2))
        assert ended.observations < PLACES - 10, "it forgot nothing: this test tries nothing"
        assert ended.status == "partial"
        assert not any(retired for _, _, retired, _ in known(reader))
        scan(writer, 3)
        scan(writer, 4)
        assert [row[:3] for row in known(reader)] == [row[:3] for row in quiet(tmp_path, (1, 2, 3, 4))]
        assert reader.check() == []


def test_a_writer_goes_on_when_the_network_carries_again() -> None:
    with postgresql_inventories.empty() as url, ExitStack() as stack:
        proxy = stack.enter_context(frozen_proxy(postgresql_inventories.server().port))
        store = open_inventory(f"postgresql://admin@127.0.0.1:{proxy.port}/{url.rpartition('/')[2]}")
        writer, reader = (
            stack.enter_context(closing(store.writer())),
            stack.enter_context(closing(store.reader())),
        )
        scan(writer, 1)
        ended: list[Scan] = []
        under_way = Event()
        recording = Thread(target=lambda: ended.append(scan(writer, 2, after_batch=under_way)))
        recording.start()
        assert under_way.wait(60)
        proxy.freeze()
        recording.join(1)
        assert recording.is_alive()
        direct = stack.enter_context(closing(open_inventory(url).reader()))
        assert not any(retired for _, _, retired, _ in known(direct))
        proxy.thaw()
        recording.join(120)
        assert [(each.status, each.observations) for each in ended] == [("complete", PLACES - 10)]
        assert [row[2] for row in known(reader)].count(True) == 10


@pytest.mark.parametrize("table", ["sightings", "meta"])
@pytest.mark.parametrize("back", [False, True], ids=["to-postgresql", "to-sqlite"])
def test_a_move_that_dies_half_way_leaves_nothing_and_goes_through_when_tried_again(
    tmp_path: Path, table: str, back: bool
) -> None:
    with postgresql_inventories.empty() as server:
        file = f"sqlite://{tmp_path}/inventory.db"
        source, target = (server, file) if back else (file, server)
        with closing(open_inventory(source).writer()) as writer:
            for round in (1, 2):
                scan(writer, round)
        words = [sys.executable, "-m", "tests.faults.moving", source, target, table]
        died = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert died.returncode == -signal.SIGKILL, died.stderr
        with closing(open_inventory(target).reader()) as reader:
            assert (reader.counts().certificates, reader.counts().locations) == (0, 0)

        def is_free() -> bool:
            # The server finds out that the process is gone when it next listens to it.
            try:
                open_inventory(target).writer().close()
            except InventoryError as error:
                assert error.kind == "locked"
                return False
            return True

        wait_until(is_free, what="the lock of the one that died")
        migrate(open_inventory(source), open_inventory(target))
        with (
            closing(open_inventory(source).reader()) as one,
            closing(open_inventory(target).reader()) as other,
        ):
            assert known(one) == known(other)
            assert other.check() == []


def test_who_takes_no_answer_any_more_has_the_turn_no_longer_than_who_says_nothing() -> None:
    # The server had an answer under way when the network broke: no timeout of a session counts then, and TCP itself takes a
    # quarter of an hour, in which nobody wrote.
    server = postgresql_inventories.server()
    with (
        postgresql_inventories.empty() as url,
        frozen_proxy(server.port) as proxy,
        closing(Line(url.replace(f":{server.port}/", f":{proxy.port}/"))) as cut_off,
        closing(Line(url)) as other,
    ):

        def ask() -> None:
            with suppress(psycopg.Error), cut_off.writing() as session:
                session.execute(
                    "SELECT repeat('x', 1000), CASE WHEN n = 1 THEN pg_sleep(2)::text END FROM generate_series(1, 200000) n"
                )

        asking = Thread(target=ask)
        asking.start()
        try:
            wait_until(lambda: waits_for(url, "PgSleep"), what="the question", seconds=30)
            proxy.freeze()
            wait_until(lambda: waits_for(url, "ClientWrite"), what="an answer that nobody takes", seconds=30)
            # It waits for its turn, a minute at most.
            with other.writing() as session:
                assert session.execute("SELECT 1").fetchone() == (1,)
        finally:
            proxy.thaw()
            asking.join(60)


def waits_for(url: str, event: str) -> bool:
    with postgresql_inventories.server().administrator(url.rpartition("/")[2]) as connection:
        waiting = f"SELECT count(*) FROM pg_stat_activity WHERE wait_event = '{event}'"  # noqa: S608
        return bool(connection.exec_driver_sql(waiting).scalar_one())
