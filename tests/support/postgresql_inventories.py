"""Empty inventories in one PostgreSQL server of the whole run: started when the first is asked for."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from certwatch.inventory import open_inventory
from tests.support.databases import DatabaseServer, postgresql

_stack = ExitStack()
_server: DatabaseServer | None = None
#: Databases that nobody uses now.
_free: list[str] = []
_made = 0


def server() -> DatabaseServer:
    global _server
    if _server is None:
        _server = _stack.enter_context(postgresql())
    return _server


def stop() -> None:
    """At the end of the run."""
    global _server
    _server = None
    _free.clear()
    _stack.close()


def url(database: str) -> str:
    return f"postgresql://admin@127.0.0.1:{server().port}/{database}"


@contextmanager
def empty() -> Iterator[str]:
    """The address of an inventory with tables and nothing in them."""
    global _made
    if _free:
        name = _free.pop()
        _empty(name)
    else:
        _made += 1
        name = f"inventory_{_made}"
        server().run(f"CREATE DATABASE {name}", database="postgres")
        open_inventory(url(name))
    try:
        yield url(name)
    finally:
        _free.append(name)


def _empty(name: str) -> None:
    # Of tables with a few rows, quicker than TRUNCATE, which makes new files for each table and index.
    with server().administrator(name) as connection:
        connection.exec_driver_sql(
            """
            DO $$ DECLARE it record; BEGIN
                SET LOCAL session_replication_role = replica;
                FOR it IN SELECT tablename FROM pg_tables
                    WHERE schemaname = 'public' AND tablename <> 'certwatch_migrations' LOOP
                    EXECUTE format('DELETE FROM %I', it.tablename);
                END LOOP;
                FOR it IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' LOOP
                    PERFORM setval(it.sequencename::regclass, 1, false);
                END LOOP;
            END $$
            """.replace("%", "%%")
        )
