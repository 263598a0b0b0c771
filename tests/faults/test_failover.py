"""A server dies in the middle of a zone's scan, and its replica takes over: nothing is lost, nothing wrongly retired."""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from certwatch.plugins.testing import make_certificate
from tests.support.databases import DatabaseServer, PostgreSQLCluster, as_user, postgresql_cluster
from tests.support.delayed import delayed
from tests.support.nginx import NginxServer, nginx
from tests.support.servers import free_port, running, wait_until
from tests.support.zones import stage

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

NAME = "www.example.com"
ADDRESSES, PART = 64, 8


@contextmanager
def replica(primary: PostgreSQLCluster, *, synchronous: bool) -> Iterator[DatabaseServer]:
    """Follows the primary; what the primary says is kept is kept here too if it is `synchronous`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    programs, home = found[-1].parent, primary.folder
    with (home / "data" / "pg_hba.conf").open("a") as file:
        file.write("host replication admin 127.0.0.1/32 trust\n")
    primary.server.run("SELECT pg_reload_conf()", database="postgres")
    port, data = free_port(), home / "replica"
    copy = [
        *as_user("postgres"), programs / "pg_basebackup", "-h", "127.0.0.1", "-p", str(primary.server.port),
        "-U", "admin", "-D", data, "-R", "-c", "fast",
    ]  # fmt: skip
    subprocess.run([*map(str, copy)], cwd=home, check=True, capture_output=True, timeout=60)
    server = DatabaseServer("postgresql+psycopg", port, "admin")
    words: list[str | Path] = [
        *as_user("postgres"),
        programs / "postgres",
        "-D",
        data,
        "-k",
        home,
        "-p",
        str(port),
        "-c",
        "fsync=off",
    ]
    with running(
        words,
        ready=lambda: server.answers("postgres"),
        log=home / "replica.log",
        seconds=60,
    ):
        if synchronous:
            primary.server.run("ALTER SYSTEM SET synchronous_standby_names = '*'", database="postgres")
            primary.server.run("SELECT pg_reload_conf()", database="postgres")
        yield server


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A port that takes 300 ms to answer."""
    leaf = make_certificate(names=[f"dns:{NAME}"])
    server = NginxServer(chain_pem=leaf.chain_pem, key_pem=leaf.key_pem, names=(NAME,))
    folder = tmp_path_factory.mktemp("late")
    with nginx(folder, [server]) as running, delayed(folder / "haproxy", running.port, 300) as port:
        yield port


@pytest.mark.parametrize("behind", [False, True], ids=["synchronous", "behind"])
def test_a_replica_takes_over_in_the_middle_of_a_scan(tmp_path: Path, late: int, behind: bool) -> None:
    with postgresql_cluster() as primary, replica(primary, synchronous=not behind) as second:
        url = (
            f"postgresql://admin@127.0.0.1:{primary.server.port},127.0.0.1:{second.port}/ca"
            "?target_session_attrs=read-write"
        )
        with stage(tmp_path, url) as staged:
            daemon = staged.daemon(
                f" [{{kind: tls, name: edge, zone: dmz, every: 1h, targets: ['127.1.0.0/26:{late}'],"
                f" server_name: {NAME}, concurrency: 2}}]",
                part_looks=PART,
            )
            worker = staged.worker("one")
            staged.wait(lambda: worker.log.count("shard_finished") >= 2, "some parts")
            if behind:
                second.run(
                    "ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'",
                    "SELECT pg_reload_conf()",
                    database="postgres",
                )
                staged.wait(lambda: worker.log.count("shard_finished") >= 4, "parts that the replica lacks")
            primary.kill()
            second.run("SELECT pg_promote()", database="postgres")
            scan = staged.scanned("edge")
            # It says of itself that it may lack something; it lacks nothing: what the replica lacked was looked at again.
            assert (scan.status, scan.observations, scan.errors) == ("partial", ADDRESSES, 0), staged.logs
            assert len(staged.locations()) == ADDRESSES
            text = daemon.config.read_text()
            daemon.config.write_text(re.sub("every: 1h", "every: 2h", text))
            before = scan.id
            daemon.signal(signal.SIGHUP)
            wait_until(
                lambda: (
                    (last := staged.last_scan("edge")) is not None
                    and last.id > before
                    and last.status == "complete"
                ),
                what="a whole scan",
                seconds=60,
            )
            with staged.reader() as reader:
                assert reader.check() == []
                live = list(reader.live())
                assert len(live) == ADDRESSES
                assert {len(reader.history(each.location.uri)) for each in live} == {1}, "none was retired"
