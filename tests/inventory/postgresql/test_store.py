"""What only a server can do to an inventory: two writers, a lost connection, a foreign database."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from certwatch.inventory import open_inventory, retention
from certwatch.inventory.postgresql import store as postgresql_store
from certwatch.inventory.postgresql.failures import translate
from certwatch.inventory.postgresql.schema import LOCKS, MIGRATING, WRITING, scripts
from certwatch.inventory.postgresql.session import translated
from certwatch.inventory.postgresql.store import IDLE_SECONDS, Line, connect
from certwatch.inventory.store import InventoryError, Query, Recorded, Writer
from certwatch.model.location import LocationURI
from certwatch.model.observation import Observation, ScanID
from certwatch.plugins.testing import EPOCH, make_certificate
from certwatch.zones.queue import bring_up
from tests.support import postgresql_inventories
from tests.support.servers import wait_until

URI = LocationURI("tls://203.0.113.7:443/")
LEAF = make_certificate()
LOOK = Observation(location=URI, observed_at=EPOCH, chain=(LEAF.der,))


@pytest.fixture
def url() -> Iterator[str]:
    with postgresql_inventories.empty() as address:
        yield address


def cut_connections(url: str) -> None:
    postgresql_inventories.server().run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'certwatch'",
        database=url.rpartition("/")[2],
    )


def refused(writer: Writer) -> InventoryError:
    with pytest.raises(InventoryError) as error:
        writer.begin_scan("edge", EPOCH)
    return error.value


def test_one_writer_at_a_time_and_the_next_when_it_has_gone(url: str) -> None:
    store = open_inventory(url)
    first = store.writer()
    with pytest.raises(InventoryError, match="is writing it already") as error:
        store.writer()
    assert (error.value.kind, store.is_shared) == ("locked", True)
    first.close()
    store.writer().close()


def test_a_writer_whose_connection_broke_goes_on_where_it_was(url: str) -> None:
    store = open_inventory(url)
    writer, reader = store.writer(), store.reader()
    scan = writer.begin_scan("edge", EPOCH)
    cut_connections(url)
    assert writer.record(scan, [LOOK]).changed == 1
    cut_connections(url)
    assert writer.finish_scan(scan, [], EPOCH).status == "complete"
    cut_connections(url)
    assert [entry.certificate.der for entry in reader.list(Query(), EPOCH)] == [LEAF.der]
    assert reader.check() == []
    reader.close()
    writer.close()


def test_a_writer_that_lost_its_turn_writes_nothing_any_more(url: str) -> None:
    store = open_inventory(url)
    first = store.writer()
    cut_connections(url)
    second = store.writer()
    assert refused(first).kind == "locked"
    scan = second.begin_scan("edge", EPOCH)
    assert refused(first).kind == "locked"
    assert second.record(scan, [LOOK]).changed == 1
    first.close()
    second.close()


def test_who_takes_no_answer_any_more_has_the_turn_no_longer_than_who_says_nothing(url: str) -> None:
    # The server had an answer under way when the network broke: no timeout of a session counts then, and TCP itself takes a
    # quarter of an hour.
    line = Line(url)
    with line.writing() as session:
        (milliseconds,) = session.execute(
            "SELECT setting::integer FROM pg_settings WHERE name = 'tcp_user_timeout'"
        ).fetchone()
        assert milliseconds == IDLE_SECONDS * 1000
    line.close()


def test_who_stands_still_before_it_first_kept_its_turn_has_it_no_longer_than_others(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It had the lock for ever: the limit came with the first step that kept the turn.
    monkeypatch.setattr(postgresql_store, "IDLE_SECONDS", 1)
    store = open_inventory(url)
    with closing(store.writer(keeps_turn=True)) as first:

        def taken() -> bool:
            try:
                store.writer().close()
            except InventoryError as error:
                assert error.kind == "locked"
                return False
            return True

        wait_until(taken, what="the lock is free")
        # It goes on if nobody has it, and is held to the same in its new session.
        first.begin_scan("edge", EPOCH)
        wait_until(taken, what="the lock is free again")


def test_who_gets_no_turn_is_told_that_it_may_come_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # As an unknown error it was one of the part that a worker did: after five of them the part was given up.
    monkeypatch.setattr(postgresql_store, "LOCK_SECONDS", 1)
    first, second = Line(url), Line(url)
    with (
        first.writing(),
        pytest.raises(InventoryError, match="had no turn") as error,
        translate(url),
        second.writing(),
    ):
        pass
    assert error.value.kind == "too-long"
    first.close()
    second.close()


def test_what_must_outlive_a_crash_waits_for_the_disk(url: str) -> None:
    # Another worker would be enrolled by the number that a crash took back, and each would give back what the other has.
    said = "SELECT current_setting('synchronous_commit')"
    with closing(Line(url)) as line:
        with line.plain() as session:
            assert session.execute(said).fetchone() == ("off",)
        with line.plain(durable=True) as session:
            assert session.execute(said).fetchone() == ("on",)


def test_a_step_that_fails_half_way_leaves_nothing(url: str) -> None:
    store = open_inventory(url)
    writer, reader = store.writer(), store.reader()
    scan = writer.begin_scan("edge", EPOCH)
    postgresql_inventories.server().run(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE disk_full; END'",
        "CREATE TRIGGER fail BEFORE INSERT ON judgements EXECUTE FUNCTION fail()",
        database=url.rpartition("/")[2],
    )
    try:
        with pytest.raises(InventoryError, match="no space left") as error:
            writer.record(scan, [LOOK])
        assert error.value.kind == "full"
        assert reader.counts().certificates == 0
    finally:
        postgresql_inventories.server().run("DROP FUNCTION fail CASCADE", database=url.rpartition("/")[2])
    assert writer.record(scan, [LOOK]).changed == 1
    reader.close()
    writer.close()


def test_totals_that_an_older_version_did_not_keep_hold_again_after_a_day(url: str) -> None:
    # While daemons and workers are upgraded one by one, an older one goes on writing and knows of no totals.
    store = open_inventory(url)
    with closing(store.writer()) as writer, closing(store.reader()) as reader:
        scan = writer.begin_scan("edge", EPOCH)
        writer.record(scan, [LOOK])
        writer.finish_scan(scan, [], EPOCH)
        postgresql_inventories.server().run(
            "DELETE FROM meta WHERE key IN ('certificates', 'locations')", database=url.rpartition("/")[2]
        )
        assert len(reader.check()) == 2
        writer.prune(EPOCH)
        assert reader.check() == []
        assert (reader.counts().certificates, reader.counts().locations) == (1, 1)


def test_a_database_of_others_is_left_alone() -> None:
    server = postgresql_inventories.server()
    server.run("CREATE TABLE locations (id integer)", database="ca")
    try:
        with pytest.raises(InventoryError, match="it has tables of the same names") as error:
            open_inventory(postgresql_inventories.url("ca"))
        assert error.value.kind == "not-inventory"
        with pytest.raises(InventoryError) as error:
            open_inventory(postgresql_inventories.url("ca"), create=False)
        assert error.value.kind == "not-found"
        with pytest.raises(InventoryError, match="does not exist") as error:
            open_inventory(postgresql_inventories.url("nowhere"))
        assert error.value.kind == "unreachable"
    finally:
        server.run("DROP TABLE locations", database="ca")


def begin_together(database: str, lock: int, begin: Callable[[str], object]) -> None:
    """Several processes that have all seen that there are no tables yet, and wait for each other."""
    server = postgresql_inventories.server()
    waiting = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {lock} AND NOT granted"  # noqa: S608
    with (
        server.administrator(database) as watching,
        closing(connect(postgresql_inventories.url(database))) as first,
        ThreadPoolExecutor(4) as others,
    ):
        first.execute("SELECT pg_advisory_lock(%s, %s)", (LOCKS, lock))
        begun = [others.submit(begin, postgresql_inventories.url(database)) for _ in range(4)]
        wait_until(
            lambda: watching.exec_driver_sql(waiting).scalar_one() == 4, what="all to wait", seconds=20
        )
        first.execute("SELECT pg_advisory_unlock(%s, %s)", (LOCKS, lock))
        for each in begun:
            each.result(30)


def test_all_that_begin_together_on_an_empty_database_find_the_tables_that_one_made() -> None:
    # Each remembered that there was none, and made them again: all but one ended with an error.
    server = postgresql_inventories.server()
    server.run("CREATE DATABASE together", database="postgres")
    try:
        begin_together("together", MIGRATING, open_inventory)
        begin_together("together", 4, bring_up)
    finally:
        server.run("DROP DATABASE together", database="postgres")


def test_scripts_are_applied_once_each_in_order(url: str) -> None:
    with postgresql_inventories.server().administrator(url.rpartition("/")[2]) as connection:
        rows = connection.exec_driver_sql("SELECT number, name FROM certwatch_migrations ORDER BY number")
        assert [tuple(row) for row in rows] == [(number, name) for number, name, _ in scripts()]


def test_a_newer_schema_is_refused(url: str) -> None:
    database = url.rpartition("/")[2]
    postgresql_inventories.server().run(
        "INSERT INTO certwatch_migrations VALUES (4711, 'from_the_future')", database=database
    )
    try:
        with pytest.raises(InventoryError, match="its schema is 4711") as error:
            open_inventory(url)
        assert error.value.kind == "newer"
    finally:
        postgresql_inventories.server().run(
            "DELETE FROM certwatch_migrations WHERE number = 4711", database=database
        )


def test_what_is_forgotten_is_looked_for_among_all_chains_at_once(url: str) -> None:
    # Once for each certificate it took minutes, in which nobody else could write.
    with closing(Line(url)) as line, line.writing() as session:
        session.scratch("forgotten", "id BIGINT PRIMARY KEY")
        for statement in (retention._UNSEEN, retention._NAMED):
            plan = [str(row[0]) for row in session.execute(f"EXPLAIN {statement}")]
            assert not [line for line in plan if "SubPlan" in line], plan


def test_a_reader_is_told_when_it_takes_too_long(url: str) -> None:
    reader = open_inventory(url).reader()
    reader.limit_time(0)
    with pytest.raises(InventoryError) as error:
        reader.counts()
    assert error.value.kind == "too-long"
    reader.limit_time(None)
    assert reader.counts().locations == 0
    reader.close()


@pytest.mark.parametrize(
    ("sqlite", "postgresql"),
    [
        ("SELECT ? WHERE a LIKE '%?' AND b = ?", "SELECT %s WHERE a LIKE '%%?' AND b = %s"),
        ("instr(uri, '?sni=') = ?1 || '''?' || ?2", "instr(uri, '?sni=') = %(p1)s || '''?' || %(p2)s"),
        ("a < :now AND b::text = ':now' AND 7 % 2 = 1", "a < %(now)s AND b::text = ':now' AND 7 %% 2 = 1"),
        ("FROM w INDEXED BY some CROSS JOIN k ON TRUE", "FROM w  JOIN k ON TRUE"),
    ],
)
def test_parameters_are_told_from_text(sqlite: str, postgresql: str) -> None:
    assert translated(sqlite) == postgresql


@pytest.fixture
def set_by_others(url: str) -> Iterator[Callable[[str], None]]:
    """What an administrator has set for the database: "name = value"."""
    server, database = postgresql_inventories.server(), url.rpartition("/")[2]
    yield lambda what: server.run(f"ALTER DATABASE {database} SET {what}", database="postgres")
    server.run(f"ALTER DATABASE {database} RESET ALL", database="postgres")


def recorded_in_turn(url: str, writer: Writer, scan: ScanID, meanwhile: str = "SELECT 1") -> Recorded:
    """What came of a look that had to wait for somebody else's turn, a second long."""
    with (
        postgresql_inventories.server().administrator(url.rpartition("/")[2]) as other,
        ThreadPoolExecutor() as pool,
    ):
        other.exec_driver_sql(f"SELECT pg_advisory_lock({LOCKS}, {WRITING})")
        recording = pool.submit(writer.record, scan, [LOOK])
        with pytest.raises(TimeoutError):
            recording.result(timeout=1)
        other.exec_driver_sql(meanwhile)
        other.exec_driver_sql(f"SELECT pg_advisory_unlock({LOCKS}, {WRITING})")
        return recording.result()


def test_a_limit_for_peoples_questions_is_none_for_a_step(
    url: str, set_by_others: Callable[[str], None]
) -> None:
    set_by_others("statement_timeout = '300ms'")
    store = open_inventory(url)
    with closing(store.writer()) as writer:
        scan = writer.begin_scan("edge", EPOCH)
        # Somebody else's turn takes longer than that.
        assert recorded_in_turn(url, writer, scan).changed == 1


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_who_waited_for_its_turn_sees_what_was_written_before_it(
    url: str, set_by_others: Callable[[str], None], level: str
) -> None:
    set_by_others(f"default_transaction_isolation = '{level}'")
    store = open_inventory(url)
    with closing(store.writer()) as writer, closing(store.reader()) as reader:
        scan = writer.begin_scan("edge", EPOCH)
        meanwhile = "INSERT INTO meta VALUES ('locations', 1), ('certificates', 1)"
        assert recorded_in_turn(url, writer, scan, meanwhile).changed == 1
        assert reader.counts().locations == 2


def test_a_database_that_cannot_hold_every_name_is_refused_before_anything_is_made() -> None:
    server = postgresql_inventories.server()
    server.run("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0", database="postgres")
    try:
        with pytest.raises(InventoryError, match=r"LATIN1.*ENCODING 'UTF8'"):
            open_inventory(postgresql_inventories.url("latin"))
        with server.administrator("latin") as connection:
            assert connection.exec_driver_sql("SELECT to_regclass('certwatch_migrations')").scalar() is None
    finally:
        server.run("DROP DATABASE latin", database="postgres")
