"""The tables and their migrations: numbered scripts, applied in order, each in one transaction.

To change the tables: add schema/000N_what.sql. A script once released is never edited.
"""

from importlib.resources import files

from certwatch.inventory.postgresql.failures import inventory_error, shown
from certwatch.inventory.postgresql.session import Connection, PostgreSQLSession, query_of
from certwatch.inventory.store import InventoryError

#: "CWiv", as the first of two keys of advisory locks. The second: what is locked.
LOCKS = 0x43576976
WRITING, MIGRATING, LEADING = 1, 2, 3

#: Of databases that take whatever text there is. SQL_ASCII keeps the bytes that it is given.
_ENCODINGS = ("UTF8", "SQL_ASCII")

_LOG = """
CREATE TABLE IF NOT EXISTS certwatch_migrations (
    number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())
"""


def scripts() -> list[tuple[int, str, str]]:
    """Number, name and text of each, in order."""
    found = files(__package__).joinpath("schema").iterdir()
    all = [
        (int(each.name[:4]), each.name.removesuffix(".sql"), each.read_text())
        for each in sorted(found, key=lambda each: each.name)
        if each.name.endswith(".sql")
    ]
    if [number for number, _, _ in all] != list(range(1, len(all) + 1)):
        # Of two with one number the second would never be applied.
        raise RuntimeError(f"scripts must be numbered 1, 2, …: {[name for _, name, _ in all]}")
    return all


def bring_up(url: str, connection: Connection, *, create: bool) -> None:
    """To the last script. Raises InventoryError ("not-found" without `create`, "not-inventory", "newer"), psycopg.Error."""
    known = scripts()
    session = PostgreSQLSession(connection)
    applied = _applied(session)
    if applied is not None and applied > known[-1][0]:
        raise inventory_error(url, "newer", f"its schema is {applied}, this version knows {known[-1][0]}")
    if applied == known[-1][0]:
        return
    if applied is None:
        if not create:
            raise inventory_error(url, "not-found")
        (foreign,) = session.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
            " AND relname IN ('certificates', 'locations', 'meta')"
        ).fetchone()
        if foreign and _applied(session) is None:  # else another process has made them meanwhile
            raise inventory_error(url, "not-inventory", "it has tables of the same names")
        encoding = connection.info.parameter_status("server_encoding")
        if encoding not in _ENCODINGS:
            raise InventoryError(
                "other",
                f"inventory {shown(url)}: the database's encoding is {encoding}, in which not every name of a certificate can be"
                " written. Make another one: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
            )
    for number, name, text in known:
        with connection.transaction():
            # A large inventory's index takes longer than a server may let people's questions take.
            session.execute("SET LOCAL statement_timeout = 0")
            session.execute("SELECT pg_advisory_xact_lock(?, ?)", (LOCKS, MIGRATING))
            if (_applied(session) or 0) >= number:
                continue  # another process was faster
            session.execute(_LOG)
            connection.execute(query_of(text))
            session.execute("INSERT INTO certwatch_migrations (number, name) VALUES (?, ?)", (number, name))


def _applied(session: PostgreSQLSession) -> int | None:
    """Number of the last script; None: no inventory."""
    # Not by to_regclass: who waited for a lock, and had asked before, is told by what its process remembers.
    (there,) = session.execute(
        "SELECT count(*) FROM pg_class WHERE relname = 'certwatch_migrations' AND pg_table_is_visible(oid)"
    ).fetchone()
    if not there:
        return None
    (number,) = session.execute("SELECT max(number) FROM certwatch_migrations").fetchone()
    return None if number is None else int(number)
