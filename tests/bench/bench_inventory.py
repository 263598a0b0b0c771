"""The inventory's speed: recording, rounds with nothing due, finding by name."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from certwatch.inventory import open_inventory
from certwatch.inventory.store import Judgement, Query, Reader, Store, Writer
from certwatch.model.location import tls_location
from certwatch.model.observation import Observation
from certwatch.plugins.testing import EPOCH
from certwatch.x509.der import read
from tests.bench.result import Result
from tests.support.numbered import NumberedCertificates

#: Certificates of the large inventory. Fewer for a quick look: CERTWATCH_BENCH_CERTIFICATES=50000.
LARGE = int(os.environ.get("CERTWATCH_BENCH_CERTIFICATES", "1000000"))
RECORDED = 100_000
BATCH = 2_000
LABELS = {"environment": "prod", "team": "payments"}


def observations(
    certificates: NumberedCertificates, numbers: range, at: datetime, *, shift: int = 0
) -> list[Observation]:
    """As the TLS collector gives them: leaf and intermediate, eight facts."""
    return [
        Observation(
            location=tls_location(f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", 443 + (n >> 24)),
            observed_at=at + timedelta(microseconds=n),
            chain=(certificates.leaf(n + shift), certificates.issuer),
            facts={
                "tls_version": "TLSv1.3",
                "cipher": "TLS_AES_256_GCM_SHA384",
                "group": "X25519MLKEM768",
                "ocsp_stapled": False,
                "client_certificate_requested": False,
                "dns_seconds": 0.0001 * (n % 7),
                "connect_seconds": 0.001,
                "handshake_seconds": 0.012,
            },
        )
        for n in numbers
    ]


def loaded() -> str:
    """Recording is one thread's work: what others do beside it stands in the figures."""
    return f"; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def scan(
    writer: Writer, certificates: NumberedCertificates, count: int, at: datetime, *, shift: int = 0
) -> float:
    """One complete scan; the seconds that recording took, the making of its input left out."""
    number = writer.begin_scan("edge", at)
    seconds = 0.0
    for start in range(0, count, BATCH):
        batch = observations(certificates, range(start, min(start + BATCH, count)), at, shift=shift)
        began = time.perf_counter()
        writer.record(number, batch, LABELS)
        seconds += time.perf_counter() - began
    began = time.perf_counter()
    writer.finish_scan(number, [], at + timedelta(minutes=5))
    return seconds + time.perf_counter() - began


def settle_all(writer: Writer, reader: Reader, now: datetime) -> float:
    """Judge everything that is due, finding nothing: the seconds it took."""
    began = time.perf_counter()
    while due := reader.due(now, 5_000):
        writer.settle(
            [
                Judgement(
                    location_id=each.served.id,
                    revision=each.revision,
                    owner="payments",
                    problems=(),
                    due_at=now + timedelta(days=30, seconds=each.served.id),
                )
                for each in due
            ],
            now,
        )
    return time.perf_counter() - began


@contextmanager
def opened() -> Iterator[tuple[Store, Path]]:
    folder = tempfile.mkdtemp(prefix="certwatch-bench-")
    try:
        path = Path(folder, "inventory.db")
        yield open_inventory(f"sqlite://{path}"), path
    finally:
        shutil.rmtree(folder)


def recording() -> list[Result]:
    certificates = NumberedCertificates()
    with opened() as (store, _):
        writer = store.writer()
        first = scan(writer, certificates, RECORDED, EPOCH)
        writer.close()
    with opened() as (store, _):
        writer = store.writer()
        new = min(first, scan(writer, certificates, RECORDED, EPOCH))
        same = min(
            scan(writer, certificates, RECORDED, EPOCH + timedelta(hours=hours)) for hours in (1, 2, 3)
        )
        renewed = scan(writer, certificates, RECORDED, EPOCH + timedelta(hours=4), shift=5_000_000)
        reader = store.reader()
        judging = settle_all(writer, reader, EPOCH + timedelta(hours=5))
        reader.close()
        writer.close()
    leaves = [certificates.leaf(number) for number in range(2_000)]
    parsing = _best(lambda: [read(der) for der in leaves], 5) / len(leaves)
    how = f"{RECORDED:,} in batches of {BATCH:,}, leaf and intermediate, scan's end included"
    return [
        Result(
            what="inventory: record, nothing changed",
            measured=RECORDED / same,
            unit="/s",
            target=50_000,
            at_least=True,
            how=how + "; best of 3" + loaded(),
        ),
        Result(
            what="inventory: record, new certificates at new locations",
            measured=RECORDED / new,
            unit="/s",
            target=10_000,
            at_least=True,
            how=how
            + f"; parsing included ({parsing * 1e6:.0f} µs of the {new / RECORDED * 1e6:.0f} each); best of 2"
            + loaded(),
        ),
        Result(
            what="inventory: record, every certificate renewed",
            measured=RECORDED / renewed,
            unit="/s",
            how=how + "; parsing included",
        ),
        Result(
            what="inventory: read what is due and settle it",
            measured=RECORDED / judging,
            unit="/s",
            how="no rules; certificates parsed",
        ),
    ]


def large() -> list[Result]:
    with opened() as (store, path):
        writer = store.writer()
        certificates = NumberedCertificates()
        scan(writer, certificates, LARGE, EPOCH)
        reader = store.reader()
        now = EPOCH + timedelta(hours=1)
        for first in range(1, LARGE + 1, 10_000):
            # Locations are numbered from 1; reading them to judge them would parse each certificate.
            writer.settle(
                [
                    Judgement(
                        location_id=id,
                        revision=1,
                        owner="payments",
                        problems=(),
                        due_at=now + timedelta(days=30, seconds=id),
                    )
                    for id in range(first, min(first + 10_000, LARGE + 1))
                ],
                now,
            )
        assert not reader.due(now, 1)
        size = path.stat().st_size
        name = f"host-{LARGE // 2:07}.example.com"
        round_seconds = _best(lambda: reader.due(now, 5_000), 20)
        by_name = _best(lambda: sum(1 for _ in reader.list(Query(text=name), now)), 20)
        everything = _best(lambda: next(reader.list(Query(limit=50), now)), 3)
        part = _best(lambda: sum(1 for _ in reader.list(Query(text=f"cn={name[:11]}"), now)), 3)
        started = min(_process_seconds(path, name) for _ in range(5))
        reader.close()
        writer.close()
    how = f"{LARGE:,} certificates, {size / 1e6:,.0f} MB"
    return [
        Result(
            what="inventory: round with nothing due",
            measured=round_seconds * 1e3,
            unit="ms",
            target=50,
            how=how,
        ),
        Result(
            what="inventory: open, list by name, whole process",
            measured=started * 1e3,
            unit="ms",
            target=300,
            how=how + "; start-up of Python, opening and import included; best of 5",
        ),
        Result(what="inventory: list by name", measured=by_name * 1e3, unit="ms", how=how),
        Result(what="inventory: list, first of 50 by date", measured=everything * 1e3, unit="ms", how=how),
        Result(what="inventory: list by a part of a subject", measured=part * 1e3, unit="ms", how=how),
        Result(
            what="inventory: a certificate's bytes on disk",
            measured=size / LARGE,
            unit="B",
            how=f"DER of {len(certificates.leaf(0))} B; location, sighting and indexes included",
        ),
        Result(
            what="inventory: memory of the process that wrote it",
            measured=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            unit="MiB",
            how=how,
        ),
    ]


def _best(call: Callable[[], object], times: int) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


_LIST = """
import sys
from datetime import datetime, UTC
from certwatch.inventory import open_inventory
from certwatch.inventory.store import Query
reader = open_inventory("sqlite://" + sys.argv[1], create=False).reader()
found = [entry.certificate.subject for entry in reader.list(Query(text=sys.argv[2]), datetime.now(UTC))]
assert len(found) == 1, found
"""


def _process_seconds(path: Path, name: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", _LIST, str(path), name], check=True)
    return time.perf_counter() - began


def run() -> list[Result]:
    return recording() + large()
