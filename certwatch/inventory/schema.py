"""The tables and their migrations. Only who creates or upgrades an inventory imports this: sqlite-utils takes
85 ms to import, and a reader of a present schema has no need of it.

To change the tables: add schema/000N_what.sql and a migration here, raise `VERSION` (versions.py). Files once
released are never edited; tests hold a migrated inventory against a fresh one.
"""

import sqlite3
from collections.abc import Iterator
from importlib.resources import files

from sqlite_utils import Database, Migrations

from certwatch.inventory.versions import APPLICATION_ID, VERSION

migrations = Migrations("certwatch")


@migrations(name="0001_first")
def first(db: Database) -> None:
    run_script(db.conn, "0001_first.sql")


@migrations(name="0002_silences")
def silences(db: Database) -> None:
    run_script(db.conn, "0002_silences.sql")


@migrations(name="0003_lints")
def lints(db: Database) -> None:
    run_script(db.conn, "0003_lints.sql")


@migrations(name="0004_counts")
def counts(db: Database) -> None:
    run_script(db.conn, "0004_counts.sql")


@migrations(name="0005_marks")
def marks(db: Database) -> None:
    run_script(db.conn, "0005_marks.sql")


@migrations(name="0006_server_names")
def server_names(db: Database) -> None:
    run_script(db.conn, "0006_server_names.sql")


@migrations(name="0007_authorised")
def authorised(db: Database) -> None:
    run_script(db.conn, "0007_authorised.sql")


@migrations(name="0008_large")
def large(db: Database) -> None:
    run_script(db.conn, "0008_large.sql")


def run_script(connection: sqlite3.Connection, name: str) -> None:
    """Statement by statement, inside the caller's transaction (`executescript` would commit it)."""
    for statement in statements(files(__package__).joinpath("schema", name).read_text()):
        connection.execute(statement)


def statements(script: str) -> Iterator[str]:
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        raise ValueError(f"unfinished statement: {pending!r}")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring an inventory, or an empty database, to `VERSION`, keeping its data. Each migration is one
    transaction; the version is written last, so that an interrupted upgrade is simply taken up again.

    The caller holds the writer's lock. sqlite3.Error passes.
    """
    database = Database(connection, execute_plugins=False, recursive_triggers=False)
    # First of all: a file with our tables and without our mark would look like a stranger's ever after.
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    migrations.apply(database)
    connection.execute(f"PRAGMA user_version = {VERSION}")
