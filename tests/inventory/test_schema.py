"""Migrations keep the data, and end where a fresh inventory begins."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest
from sqlite_utils import Database, Migrations

from certwatch.inventory import open_inventory, schema
from certwatch.inventory.schema import migrate, migrations, statements
from certwatch.inventory.versions import APPLICATION_ID, VERSION
from certwatch.plugins.testing import make_certificate
from tests.support.inventories import opened

#: What stands in tests/data/inventory/version_1.sql: an inventory as version 1 of the schema left it.
VERSION_1 = Path(__file__).parent.parent / "data" / "inventory" / "version_1.sql"


def tables(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    return connection.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"
    ).fetchall()


@pytest.fixture
def empty() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


def test_every_migration_has_its_file_and_the_version_is_their_number() -> None:
    names = [each.name for each in migrations.pending(Database(memory=True))]
    assert len(names) == VERSION
    assert sorted(each.name for each in files(schema.__package__).joinpath("schema").iterdir()) == [
        f"{name}.sql" for name in names
    ]


def test_a_fresh_inventory_is_marked(empty: sqlite3.Connection) -> None:
    migrate(empty)
    assert empty.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert empty.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_migrating_twice_changes_nothing(empty: sqlite3.Connection) -> None:
    migrate(empty)
    before = tables(empty)
    migrate(empty)
    assert tables(empty) == before


def test_an_inventory_of_version_1_migrated_is_a_fresh_one_with_its_data(
    tmp_path: Path, empty: sqlite3.Connection
) -> None:
    path = tmp_path / "inventory.db"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(VERSION_1.read_text())
    reader = open_inventory(f"sqlite://{path}").reader()
    try:
        assert reader.check() == []
        (served,) = reader.live()
        assert served.location.uri == "tls://203.0.113.7:443/?sni=www.example.com"
        assert [finding.rule for finding in reader.open_findings()] == ["expiry"]
        assert [scan.status for scan in reader.last_scans()] == ["complete"]
    finally:
        reader.close()
    migrate(empty)
    with closing(sqlite3.connect(path)) as migrated:
        assert tables(migrated) == tables(empty)


def test_an_interrupted_migration_is_taken_up_again(
    empty: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Migrations("certwatch")

    @broken(name="0001_first")
    def first(db: Database) -> None:
        db.conn.execute("CREATE TABLE half (done INTEGER)")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(schema, "migrations", broken)
        migrate(empty)
    assert empty.execute("PRAGMA user_version").fetchone() == (0,)
    assert not any(name == "half" for _, name, _ in tables(empty))
    migrate(empty)
    assert empty.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_a_file_left_by_an_interrupted_creation_is_taken_up_again(tmp_path: Path) -> None:
    path = tmp_path / "inventory.db"
    with closing(sqlite3.connect(path)) as begun:
        begun.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    with opened("sqlite", tmp_path) as tried:
        tried.record(tried.look("tls://203.0.113.7:443/", make_certificate()))


def test_scripts_are_cut_at_statements_and_nothing_is_left_over() -> None:
    assert [each.strip() for each in statements("-- a; b\nSELECT ';';\nSELECT 2;\n")] == [
        "-- a; b\nSELECT ';';",
        "SELECT 2;",
    ]
    with pytest.raises(ValueError, match="unfinished"):
        list(statements("SELECT 1;\nSELECT 2"))
