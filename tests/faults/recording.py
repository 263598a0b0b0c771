"""A process that records scans until it is killed: `python -m tests.faults.recording FILE SCAN STATEMENTS`.

Scan number k, from SCAN on, begins k minutes after EPOCH and looks at all of `LOCATIONS` but those whose number is -k
modulo 5; each shows the certificate of its number and k // 2. A finished scan is told by one line on stdout. After
STATEMENTS statements of SQL (0: never) the process kills itself between two of them, in whatever it was doing.
"""

import os
import signal
import sys
from datetime import datetime, timedelta

from certwatch.inventory import open_inventory
from certwatch.inventory.store import Judgement
from certwatch.inventory.writer import SQLiteWriter
from certwatch.model.location import LocationURI
from certwatch.model.observation import Observation
from certwatch.plugins.testing import EPOCH
from tests.support.inventories import problem

LOCATIONS = 60
BATCH = 11
CHAIN_BYTES = 700


def started_at(scan: int) -> datetime:
    return EPOCH + timedelta(minutes=scan)


def sees(scan: int, location: int) -> bool:
    return (location + scan) % 5 != 0


def certificate(scan: int, location: int) -> bytes:
    """No real one: what no parser takes is kept as well, and needs no time to make."""
    return (f"{location} {scan // 2} ".encode() * CHAIN_BYTES)[:CHAIN_BYTES]


def uri(location: int) -> LocationURI:
    return LocationURI(f"tls://203.0.113.{location}:443/")


def main(path: str, scan: int, statements: int) -> None:
    store = open_inventory(f"sqlite://{path}")
    writer = store.writer()
    assert isinstance(writer, SQLiteWriter)
    left = statements

    def count(_: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    writer._connection.set_trace_callback(count)
    reader = store.reader()
    while True:
        now = started_at(scan)
        running = writer.begin_scan("edge", now)
        seen = [location for location in range(LOCATIONS) if sees(scan, location)]
        for start in range(0, len(seen), BATCH):
            looks = [
                Observation(
                    location=uri(location),
                    observed_at=now + timedelta(seconds=1),
                    chain=(certificate(scan, location),),
                )
                for location in seen[start : start + BATCH]
            ]
            writer.record(running, looks, {})
        writer.finish_scan(running, [], now + timedelta(seconds=30))
        print(scan, flush=True)
        judgements = [
            Judgement(
                location_id=due.served.id,
                revision=due.revision,
                owner="",
                problems=() if due.served.retired_at else (problem(),),
                due_at=None,
            )
            for due in reader.due(now + timedelta(seconds=31), LOCATIONS // 2)
        ]
        writer.settle(judgements, now + timedelta(seconds=31))
        if scan % 7 == 0:
            writer.prune(now - timedelta(minutes=5))
        scan += 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
