"""The inventory behind a real PgBouncer: everything in session mode, reading and what people say in transaction mode."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.inventory import open_inventory
from certwatch.inventory.migrate import migrate
from certwatch.inventory.store import InventoryError, Query
from certwatch.model.location import LocationURI
from certwatch.model.observation import Observation
from certwatch.model.silence import Silence, SilenceID
from certwatch.plugins.testing import EPOCH, make_certificate
from tests.support import postgresql_inventories
from tests.support.pgbouncer import PoolMode, pgbouncer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

LEAF = make_certificate()
LOOKS = [
    Observation(location=LocationURI(f"tls://203.0.113.7:{port}/"), observed_at=EPOCH, chain=(LEAF.der,))
    for port in range(1, 101)
]
SILENCE = Silence(
    id=SilenceID(0),
    covers="true",
    until=EPOCH + timedelta(days=1),
    author="eve",
    reason="quiet",
    created_at=EPOCH,
    ended_at=None,
)


@pytest.fixture
def direct() -> Iterator[str]:
    with postgresql_inventories.empty() as url:
        yield url


def through(direct: str, port: int) -> str:
    return f"postgresql://admin@127.0.0.1:{port}/{direct.rpartition('/')[2]}"


def test_in_session_mode_all_is_as_without(direct: str, tmp_path: Path) -> None:
    with pgbouncer(postgresql_inventories.server().port, "session") as port:
        store = open_inventory(through(direct, port))
        writer, reader = store.writer(), store.reader()
        scan = writer.begin_scan("edge", EPOCH)
        assert writer.record(scan, LOOKS).changed == len(LOOKS)
        for other in (store, open_inventory(direct)):
            with pytest.raises(InventoryError, match="is writing it already") as refused:
                other.writer()
            assert refused.value.kind == "locked"
        assert writer.finish_scan(scan, [], EPOCH).status == "complete"
        assert store.silence(SILENCE).id == 1
        assert len(list(reader.live())) == len(LOOKS)
        assert [entry.certificate.der for entry in reader.list(Query(), EPOCH)] == [LEAF.der]
        writer.close()
        # PgBouncer resets what it takes back: the lock is free at once, and the next has it alone.
        migrate(store, open_inventory(f"sqlite://{tmp_path}/inventory.db"))
        open_inventory(direct).writer().close()
        reader.close()


@pytest.mark.parametrize("pool_size", [1, 8])
def test_in_transaction_mode_nobody_becomes_the_writer(direct: str, pool_size: int) -> None:
    with pgbouncer(postgresql_inventories.server().port, "transaction", pool_size=pool_size) as port:
        store = open_inventory(through(direct, port))
        for _ in range(3):
            with pytest.raises(InventoryError, match="pool_mode = session") as refused:
                store.writer()
            assert refused.value.kind == "other"
        # It kept no lock behind.
        open_inventory(direct).writer().close()


def test_in_transaction_mode_readers_and_people_share_few_connections(direct: str) -> None:
    with pgbouncer(postgresql_inventories.server().port, "transaction", pool_size=2) as port:
        with_lock = open_inventory(direct)
        writer = with_lock.writer()
        scan = writer.begin_scan("edge", EPOCH)
        writer.record(scan, LOOKS)
        store = open_inventory(through(direct, port))
        readers = [store.reader() for _ in range(6)]
        streams = [each.live() for each in readers]
        assert [next(each).location.uri for each in streams] == [LOOKS[0].location] * 6
        assert store.silence(SILENCE).id == 1
        assert all(len(list(each)) == len(LOOKS) - 1 for each in streams)
        for each in readers:
            each.close()
        with store.snapshot() as session:
            assert len(list(session.stream("SELECT * FROM locations ORDER BY id"))) == len(LOOKS)
        writer.finish_scan(scan, [], EPOCH)
        writer.close()


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_the_tables_are_made_through_it(mode: PoolMode) -> None:
    server = postgresql_inventories.server()
    server.run(f"CREATE DATABASE made_in_{mode}", database="postgres")
    with pgbouncer(server.port, mode) as port:
        url = through(f"/made_in_{mode}", port)
        reader = open_inventory(url).reader()
        assert reader.counts().locations == 0
        reader.close()
