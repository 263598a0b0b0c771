"""An inventory is moved between databases and back, and nothing of it is lost."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from certwatch.inventory import open_inventory, sqlite
from certwatch.inventory.migrate import TABLES, migrate
from certwatch.inventory.postgresql.session import PostgreSQLSession
from certwatch.inventory.store import InventoryError, Query, Store
from certwatch.model.mark import Mark, MarkID
from certwatch.model.silence import Silence, SilenceID
from certwatch.plugins.testing import EPOCH, make_ca, make_certificate
from certwatch.x509.der import read
from tests.support import postgresql_inventories
from tests.support.inventories import TIMEOUT, Tried, opened, problem

ROOT = make_ca()
FIRST = make_certificate(issuer=ROOT)
SECOND = make_certificate(not_after=EPOCH + timedelta(days=150))
pytestmark = pytest.mark.timeout(120)
URI, OTHER = "tls://203.0.113.7:443/", "tls://203.0.113.8:443/?sni=www.example.com"


def fill(tried: Tried) -> None:
    tried.scan(tried.look(URI, FIRST, ROOT), tried.look(OTHER, SECOND, labels={"a": "ü\n\t\\N"}))
    tried.settle(problem(certificate=FIRST), uri=URI, owner="payments")
    tried.scan(tried.look(URI, SECOND), tried.look(OTHER, error=TIMEOUT))
    tried.scan(tried.look("file:///etc/ssl/a.pem", b"\x00\xff no certificate"), collector="files")
    tried.settle()
    tried.writer.require_judgement("digest")
    tried.writer.record_lints([], through=2, linter="pkilint 0.13")
    tried.store.mark(
        Mark(
            id=MarkID(0),
            kind="compromised",
            certificate=read(FIRST.der),
            author="me",
            reason="",
            created_at=EPOCH,
        )
    )


def everything(store: Store) -> dict[str, Any]:
    with store.snapshot() as session:
        tables: dict[str, Any] = {
            table: [tuple(row) for row in session.execute(f"SELECT * FROM {table} ORDER BY {key}")]  # noqa: S608
            for table, key in TABLES
        }
        return tables | {
            f"last of {table}": session.last_id(table)
            for table, key in TABLES
            if key == "id" and tables[table]
        }


@pytest.fixture
def postgresql() -> Iterator[Store]:
    with postgresql_inventories.empty() as url:
        yield open_inventory(url)


def test_there_and_back_nothing_is_lost(tmp_path: Path, postgresql: Store) -> None:
    with opened("sqlite", tmp_path) as tried:
        fill(tried)
        before = everything(tried.store)
        listed = [repr(entry) for entry in tried.reader.list(Query(), tried.clock())]
        now = tried.clock()
        store = tried.store
    back = open_inventory(f"sqlite://{tmp_path}/back.db")
    there = migrate(store, postgresql)
    assert {each.table: each.rows for each in there} == {table: len(before[table]) for table, _ in TABLES} | {
        "meta": 7
    }
    assert everything(postgresql) == before
    assert migrate(postgresql, back) == there
    assert everything(back) == before
    for each in (postgresql, back):
        with ExitStack() as stack:
            reader = each.reader()
            stack.callback(reader.close)
            assert reader.check() == []
            assert [repr(entry) for entry in reader.list(Query(), now)] == listed
            assert reader.marks_revision() == 1
            writer = each.writer()
            stack.callback(writer.close)
            assert not writer.require_judgement("digest")
            # Ids go on where they were.
            assert writer.begin_scan("edge", now) == before["last of scans"] + 1


def test_what_is_not_empty_is_not_moved_into(tmp_path: Path, postgresql: Store) -> None:
    with opened("sqlite", tmp_path) as tried:
        fill(tried)
        store = tried.store
    migrate(store, postgresql)
    before = everything(postgresql)
    with pytest.raises(InventoryError, match="is not empty"):
        migrate(store, postgresql)
    assert everything(postgresql) == before


def test_while_a_daemon_writes_nothing_is_moved(tmp_path: Path, postgresql: Store) -> None:
    with opened("sqlite", tmp_path) as tried:
        fill(tried)
        with pytest.raises(InventoryError, match="is writing it already"):
            migrate(tried.store, postgresql)
    assert everything(postgresql) == {table: [] for table, _ in TABLES}


def test_a_move_that_ends_half_way_leaves_nothing(
    tmp_path: Path, postgresql: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened("sqlite", tmp_path) as tried:
        fill(tried)
        store = tried.store

    def damaged(self: sqlite.SQLiteSession, sql: str) -> Iterator[Any]:
        if "FROM sightings" in sql:
            raise OSError(5, "Input/output error")
        yield from self.execute(sql)

    monkeypatch.setattr(sqlite.SQLiteSession, "stream", damaged)
    with pytest.raises(InventoryError, match="Input/output error"):
        migrate(store, postgresql)
    monkeypatch.undo()
    assert everything(postgresql) == {table: [] for table, _ in TABLES}
    migrate(store, postgresql)


@pytest.mark.parametrize("way", ["there", "back"])
def test_what_is_silenced_or_marked_during_a_move_is_not_lost_without_a_word(
    tmp_path: Path, postgresql: Store, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    # Neither needs the writer's lock: it was there, and not in the inventory that the next daemon began with.
    with opened("sqlite", tmp_path) as tried:
        fill(tried)
        source, target, now = tried.store, postgresql, tried.clock()
    if way == "back":
        migrate(source, target)
        source, target = target, open_inventory(f"sqlite://{tmp_path}/back.db")
    new = Silence(
        id=SilenceID(0),
        covers='rule == "expiry"',
        until=now + timedelta(days=1),
        author="me",
        reason="",
        created_at=now,
    )
    session = sqlite.SQLiteSession if way == "there" else PostgreSQLSession
    stream, said = session.stream, list[Silence]()

    def silenced(self: Any, sql: str) -> Iterator[Any]:
        if "FROM marks" in sql and not said:
            said.append(source.silence(new))
        yield from stream(self, sql)

    monkeypatch.setattr(session, "stream", silenced)
    with pytest.raises(InventoryError, match="Try again"):
        migrate(source, target)
    assert everything(target) == {table: [] for table, _ in TABLES}
    migrate(source, target)
    assert everything(target) == everything(source)
    assert [row[0] for row in everything(target)["silences"]] == [said[0].id]


def test_a_database_that_keeps_something_else_is_found_out(tmp_path: Path) -> None:
    with opened("sqlite", tmp_path) as tried:
        fill(tried)
        store = tried.store
    with postgresql_inventories.empty() as url:
        run, database = postgresql_inventories.server().run, url.rpartition("/")[2]
        run(
            "CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.value := NEW.value + 1; RETURN NEW; END'",
            "CREATE TRIGGER other BEFORE INSERT ON meta FOR EACH ROW EXECUTE FUNCTION other()",
            database=database,
        )
        try:
            with pytest.raises(InventoryError, match="table meta"):
                migrate(store, open_inventory(url))
        finally:
            run("DROP FUNCTION other CASCADE", database=database)


def test_every_table_is_moved(tmp_path: Path, postgresql: Store) -> None:
    moved = {table for table, _ in TABLES} | {"meta"}
    with open_inventory(f"sqlite://{tmp_path}/inventory.db").snapshot() as session:
        found = {name for (name,) in session.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        assert {name for name in found if not name.startswith(("sqlite_", "_"))} == moved
        columns = {
            table: [row[1] for row in session.execute(f"PRAGMA table_info({table})")] for table, _ in TABLES
        }
    with postgresql.snapshot() as session:
        assert columns == {
            table: [
                row[0]
                for row in session.execute(
                    "SELECT column_name FROM information_schema.columns"
                    " WHERE table_name = ? AND table_schema = current_schema() ORDER BY ordinal_position",
                    (table,),
                )
            ]
            for table, _ in TABLES
        }
