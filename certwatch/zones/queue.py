"""procrastinate's queue in the inventory's database: its tables, and the one task in it.

A job only tells a worker of a shard; who has the shard stands in `shards` (`certwatch.inventory.postgresql.zones`). A job that
is told twice, or too late, does nothing.
"""

import logging
import re
from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path

import procrastinate
import psycopg
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from procrastinate.schema import SchemaManager

from certwatch.inventory.postgresql.failures import inventory_error, translate
from certwatch.inventory.postgresql.schema import LOCKS
from certwatch.inventory.postgresql.session import Connection, query_of
from certwatch.inventory.postgresql.store import CHOSEN, connect
from certwatch.telemetry.logs import get_logger

log = get_logger(__name__)

TASK = "certwatch.look"
#: Of one process: fetching, its heartbeat, and what ends.
CONNECTIONS = 3
#: For a connection of the pool.
WAIT_SECONDS = 10.0

#: Beside those of `inventory.postgresql.schema`.
_QUEUE = 4
_VERSION = re.compile(r"certwatch: procrastinate's schema (\S+)")


class _Jobs(JobManager):
    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        try:
            await super().finish_job(job, status, delete_job)
        except ConnectorException as error:
            # It was taken from a worker that was silent, or nobody can be told: the shard's state is what counts, and the
            # daemon clears away jobs whose worker is silent.
            log.debug("job_not_ended", job=job.id, error=repr(error.__cause__))


def make_app(url: str, look: Callable[[int], Awaitable[None]]) -> procrastinate.App:
    """`look`: what a worker does when it is told of a shard."""
    for name, level in (("procrastinate", logging.WARNING), ("psycopg.pool", logging.ERROR)):
        logging.getLogger(name).setLevel(level)
    chosen = {name: value for name, value in CHOSEN.items() if f"{name}=" not in url}
    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(
            conninfo=url,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=WAIT_SECONDS,
            kwargs={"prepare_threshold": None, "client_encoding": "utf8", **chosen},
        )
    )
    app.job_manager = _Jobs(app.connector)

    @app.task(name=TASK)
    async def told(shard: int) -> None:
        await look(shard)

    return app


def bring_up(url: str) -> None:
    """Make procrastinate's tables, or bring them to the version that is installed. Blocking. Raises InventoryError."""
    with translate(url):
        connection = connect(url)
        try:
            _bring_up(url, connection)
        finally:
            connection.close()


def _bring_up(url: str, connection: Connection) -> None:
    known = _migrations()
    if _present(connection) == known[-1].name:
        return
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCKS, _QUEUE))
        present = _present(connection)  # another process may have been faster
        if present is None:
            connection.execute(query_of(SchemaManager.get_schema()))
        elif present > known[-1].name:
            raise inventory_error(
                url, "newer", f"its queue's schema is {present}, this version knows {known[-1].name}"
            )
        else:
            for each in known:
                if each.name > present:
                    connection.execute(query_of(each.read_text()))
        connection.execute(
            query_of(
                f"COMMENT ON TABLE procrastinate_jobs IS 'certwatch: procrastinate''s schema {known[-1].name}'"
            )
        )


def _migrations() -> list[Path]:
    """In order. Their names begin with the version."""
    folder = Path(str(files("procrastinate").joinpath("sql", "migrations")))
    return sorted(folder.glob("*.sql"))


def _present(connection: Connection) -> str | None:
    """The last migration that the tables have. None: there are no tables."""
    # Not by to_regclass, as in `inventory.postgresql.schema`.
    row = connection.execute(
        "SELECT obj_description(oid, 'pg_class') FROM pg_class"
        " WHERE relname = 'procrastinate_jobs' AND pg_table_is_visible(oid)"
    ).fetchone()
    if row is None:
        return None
    match = _VERSION.fullmatch(row[0] or "")
    if match is None:
        raise psycopg.errors.DuplicateTable("the queue's tables are another program's")
    return match[1]
