"""A daemon divides its scans among workers of a zone, all of them processes, with a PostgreSQL of their own."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from certwatch.plugins.testing import make_certificate
from tests.support import postgresql_inventories
from tests.support.nginx import Nginx, NginxServer, nginx
from tests.support.pgbouncer import PoolMode, pgbouncer
from tests.support.zones import Stage, stage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

NAME = "www.example.com"


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Stage]:
    with postgresql_inventories.empty() as url, stage(tmp_path, url) as it:
        yield it


@pytest.fixture
def bouncers(staged: Stage) -> Iterator[dict[PoolMode, str]]:
    """Addresses of the inventory, through a PgBouncer of each mode."""
    port, database = postgresql_inventories.server().port, staged.url.rpartition("/")[2]
    with pgbouncer(port, "session") as session, pgbouncer(port, "transaction") as transaction:
        address = "postgresql://admin@127.0.0.1:{}/" + database
        yield {"session": address.format(session), "transaction": address.format(transaction)}


@pytest.fixture
def endpoints(tmp_path: Path) -> Iterator[Nginx]:
    """All of 127.0.0.0/8 answers on its port."""
    leaf = make_certificate(names=[f"dns:{NAME}"])
    server = NginxServer(chain_pem=leaf.chain_pem, key_pem=leaf.key_pem, names=(NAME,), host="0.0.0.0")  # noqa: S104
    folder = tmp_path / "nginx"
    folder.mkdir()
    with nginx(folder, [server]) as running:
        yield running


def test_workers_do_the_scans_of_their_zones_and_the_daemon_ends_them(
    staged: Stage, bouncers: dict[PoolMode, str], endpoints: Nginx
) -> None:
    # A worker holds no lock between two transactions: either mode will do.
    staged.worker("one", url=bouncers["session"])
    staged.worker("two", zone="lan", url=bouncers["transaction"])
    daemon = staged.daemon(
        f" [{{kind: tls, name: edge, zone: dmz, every: 1h, targets: ['127.1.0.0/24:{endpoints.port}', '127.2.0.1:{endpoints.port}'],"
        f" server_name: {NAME}, labels: {{environment: prod}}}}, {{kind: tls, name: office, zone: lan, every: 1h,"
        f" targets: ['127.3.0.1:{endpoints.port}'], server_name: {NAME}, labels: {{environment: prod}}}}]",
        part_looks=20,
    )
    other = staged.scanned("office")
    assert (other.status, other.observations, other.errors) == ("complete", 1, 0), staged.logs
    scan = staged.scanned("edge")
    assert (scan.status, scan.observations, scan.errors) == ("complete", 257, 0), staged.logs
    assert len(staged.locations()) == 258
    for worker in staged.workers.values():
        assert "shard_finished" in worker.log
    # The daemon tells what its workers saw, as if it had looked itself.
    assert daemon.metric("certwatch_observations_total", collector="edge", outcome="ok") == 257
    assert daemon.metric("certwatch_tls_handshake_seconds_count", collector="edge") == 257
    assert daemon.metric("certwatch_targets", collector="edge", source="targets") == 1
    assert daemon.metric("certwatch_targets_seen", collector="edge", source="targets") == 1
    assert daemon.metric("certwatch_zone_shards_ended_total", zone="dmz", outcome="complete") == 13
    for name in ("dmz", "lan"):
        daemon.wait(
            lambda name=name: daemon.metric("certwatch_zone_workers", zone=name) == 1, "a worker of each"
        )
    listed = json.loads(staged.workers["one"].command("worker", "--list", "--json").stdout)
    assert [(zone["zone"], len(zone["workers"]), zone["waiting"]) for zone in listed["zones"]] == [
        ("dmz", 1, 0),
        ("lan", 1, 0),
    ]
    for worker in staged.workers.values():
        worker.signal(signal.SIGTERM)
        assert worker.end(30) == 0
    assert json.loads(staged.workers["one"].command("worker", "--list", "--json").stdout)["zones"] == []
