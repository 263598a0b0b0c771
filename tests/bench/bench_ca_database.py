"""A CA's database in a real PostgreSQL, read into the inventory: all of it, and then what is new.

CERTWATCH_BENCH_ISSUED=1000000 for as many as the target says; the default is a twentieth of it, so that a run is short.
"""

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import psycopg

from certwatch.engine.collect import CollectorJob, run_scan
from certwatch.engine.view import StoreView
from certwatch.engine.writer import WriterThread
from certwatch.inventory import open_inventory
from certwatch.plugins.collector import CollectorContext
from certwatch.x509.der import read
from collectors.ca_database import CADatabaseCollector
from tests.bench.result import Result
from tests.support.databases import READER, DatabaseServer, postgresql
from tests.support.numbered import NumberedCertificates

ISSUED = int(os.environ.get("CERTWATCH_BENCH_ISSUED", "50000"))
NEW = 100
_MIB = 1 << 20
#: As cfssl's second migration has it.
_TABLE = (
    "CREATE TABLE certificates (serial_number bytea NOT NULL, authority_key_identifier bytea NOT NULL, ca_label bytea,"
    " status bytea NOT NULL, reason int, expiry timestamptz, revoked_at timestamptz, issued_at timestamptz, pem bytea NOT NULL,"
    " PRIMARY KEY (serial_number, authority_key_identifier))"
)


def fill(server: DatabaseServer, numbers: range, first: datetime, last: datetime) -> None:
    """Issued evenly from `first` to `last`."""
    import base64

    made = NumberedCertificates()
    end = datetime.now(UTC) + timedelta(days=60)
    with (
        psycopg.connect(host="127.0.0.1", port=server.port, user="admin", dbname="ca") as connection,
        connection.cursor() as cursor,
        cursor.copy(
            "COPY certificates (serial_number, authority_key_identifier, status, reason, expiry, issued_at, pem) FROM STDIN"
            " (FORMAT BINARY)"
        ) as copy,
    ):
        copy.set_types(["bytea", "bytea", "bytea", "int4", "timestamptz", "timestamptz", "bytea"])
        for place, number in enumerate(numbers):
            issued_at = first + (last - first) * (place / len(numbers))
            der = made.leaf(number)
            serial = str(read(der).serial_number).encode()
            pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
            copy.write_row((serial, b"00ff", b"good", 0, end, issued_at, pem))


@contextmanager
def peak() -> Iterator[list[int]]:
    """Bytes resident above what there was before, at most, while the block runs."""
    process, stop = psutil.Process(), threading.Event()
    before = process.memory_info().rss
    most = [0]

    def watch() -> None:
        while not stop.wait(0.02):
            most[0] = max(most[0], process.memory_info().rss - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()


async def measure(server: DatabaseServer, folder: Path) -> list[Result]:
    store = open_inventory(f"sqlite://{folder}/inventory.db")
    writer = WriterThread(store.writer())
    view = StoreView(store)
    now = datetime.now(UTC)

    def clock() -> datetime:
        return now

    def job() -> tuple[CollectorJob, CADatabaseCollector]:
        # Made anew each time: nothing may hang on the process.
        config = CADatabaseCollector.Config.model_validate({"preset": "cfssl", "url": server.url()})
        made = CADatabaseCollector("corp", config, CollectorContext(clock=clock, view=view))
        return CollectorJob(
            name="corp", kind="ca-database", build=lambda: made, every=timedelta(minutes=15)
        ), made

    first, collector = job()
    cpu, wall = time.process_time(), time.perf_counter()
    with peak() as most:
        scan = await run_scan(first, collector, writer, clock)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert scan.status == "complete", scan
    rows = [
        Result(
            what="CA database: first read into the inventory, a core",
            measured=ISSUED / cpu,
            unit="/s",
            target=20_000,
            at_least=True,
            how=f"{ISSUED:,} of cfssl's certdb in PostgreSQL, parsed and recorded; {wall:.1f} s, of which {cpu:.1f} s CPU here",
        ),
        Result(
            what="CA database: memory of it",
            measured=most[0] / _MIB,
            unit="MiB",
            target=150,
            how="most resident above what there was before",
        ),
    ]
    now += timedelta(minutes=15)
    fill(server, range(ISSUED, ISSUED + NEW), now - timedelta(minutes=10), now)
    second, collector = job()
    begun = time.perf_counter()
    scan = await run_scan(second, collector, writer, clock)
    rows.append(
        Result(
            what=f"CA database: a round with {NEW} new ones",
            measured=time.perf_counter() - begun,
            unit="s",
            target=1,
            how=f"of {ISSUED:,}",
        )
    )
    assert scan.status == "complete", scan
    with view.reading() as reader:
        assert reader.counts().certificates >= ISSUED + NEW
    view.close()
    await writer.close()
    return rows


def run() -> list[Result]:
    with postgresql() as server, tempfile.TemporaryDirectory() as folder:
        server.run(_TABLE, f"GRANT SELECT ON certificates TO {READER}")
        now = datetime.now(UTC)
        fill(server, range(ISSUED), now - timedelta(days=30), now - timedelta(hours=1))
        server.run("ANALYZE certificates")
        return asyncio.run(measure(server, Path(folder)))
