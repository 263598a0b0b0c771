"""A large inventory in both stores: what people and programs ask of it, a daemon over it, and what a day costs.

CERTWATCH_BENCH_FLEET=1000000 for a million certificates at two million places (half an hour); CERTWATCH_BENCH_STORES=sqlite for
one of the two.
"""

import os
import random
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import NamedTuple

from certwatch.config.load import read as read_config
from certwatch.engine.assemble import rule_set
from certwatch.inventory import open_inventory
from certwatch.inventory.store import FindingQuery, Judgement, Query, Reader, RuleProblem, Store, Writer
from certwatch.model.finding import Problem
from certwatch.model.location import LocationURI, tls_location
from certwatch.model.observation import Incomplete, LookError, Observation
from tests.bench.bench_inventory import loaded
from tests.bench.result import Result
from tests.support import postgresql_inventories
from tests.support.numbered import NumberedCertificates
from tests.support.servers import free_port, running

CERTIFICATES = int(os.environ.get("CERTWATCH_BENCH_FLEET", "20000"))
STORES = os.environ.get("CERTWATCH_BENCH_STORES", "sqlite postgresql").split()
LOCATIONS = 2 * CERTIFICATES
#: What a day costs is measured with half of the places, and held against a tenth of those with the same changes.
HALF = LOCATIONS // 2
TENTH = HALF // 10
#: A day's changes: one place in a thousand of the half.
CHANGED = max(HALF // 1000, 20)
#: A disk does not take the same time twice: the median of so many rounds of changes.
ROUNDS = 5
BATCH = 2_000
CALLS = 100
#: A name by which nobody configured it: a daemon leaves it alone.
COLLECTOR = "scan-tls"
TEAMS = ("payments", "platform", "identity", "checkout", "mail")
NOW = datetime.now(UTC).replace(microsecond=0)
BORN = NOW - timedelta(days=2)


def place(number: int) -> LocationURI:
    return tls_location(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 443 + (number >> 24))


PART = [Incomplete(scope="", error=LookError(kind="other", message="the rest was not looked at"))]


class Day(NamedTuple):
    """What a round over places costs, in seconds."""

    #: What is as before.
    same: float
    #: `CHANGED` places that changed: the median of the rounds.
    changes: float
    #: The scan's end.
    end: float


class Fleet:
    def __init__(self, store: Store, url: str) -> None:
        self.store = store
        self.url = url
        self.certificates = NumberedCertificates()
        #: Ids of places that have changed.
        self.changed: set[int] = set()

    def looks(self, numbers: Sequence[int], at: datetime, *, shift: int = 0) -> list[Observation]:
        return [
            Observation(
                location=place(n),
                observed_at=at + timedelta(microseconds=n),
                chain=(self.certificates.leaf(n // 2 + shift), self.certificates.issuer),
                facts={
                    "tls_version": "TLSv1.3",
                    "cipher": "TLS_AES_256_GCM_SHA384",
                    "handshake_seconds": 0.012,
                },
            )
            for n in numbers
        ]

    def scan(self, writer: Writer, count: int, at: datetime, *, shift: int = 0, begin: int = 0) -> Day:
        """The first `count` places, or those from `begin` on, partial then. With `shift`, some of them have changed: new
        certificates, by numbers from there on."""
        number = writer.begin_scan(COLLECTOR, at)
        # All over the places, as renewals are.
        step = count // CHANGED
        rounds = [range(k, count, step)[:CHANGED] for k in range(ROUNDS)] if shift else []
        apart = {n for each in rounds for n in each}
        self.changed |= {n + 1 for n in apart}
        same = 0.0
        for start in range(begin, count, BATCH):
            batch = self.looks([n for n in range(start, min(start + BATCH, count)) if n not in apart], at)
            began = time.perf_counter()
            writer.record(number, batch)
            same += time.perf_counter() - began
        changes = []
        for which in rounds:
            batch = self.looks(which, at, shift=shift)
            began = time.perf_counter()
            writer.record(number, batch)
            changes.append(time.perf_counter() - began)
        began = time.perf_counter()
        writer.finish_scan(number, PART if begin else [], at + timedelta(minutes=5))
        return Day(same, median(changes) if changes else 0.0, time.perf_counter() - began)

    def judge_all(self, writer: Writer, digest: str) -> None:
        """As if the rules had: one place in fifty has a finding, one in five hundred a page. By number, from 1 on: to read all
        that they are about would parse each certificate."""
        writer.require_judgement(digest)
        for first in range(1, LOCATIONS + 1, 10_000):
            self._judge(writer, range(first, min(first + 10_000, LOCATIONS + 1)), revision=2)
        # Those that changed on the way; a judgement of another revision is none.
        for revision in range(3, 10):
            self._judge(writer, sorted(self.changed), revision=revision)

    def _judge(self, writer: Writer, ids: Sequence[int], *, revision: int) -> None:
        writer.settle(
            [
                Judgement(
                    location_id=id,
                    revision=revision,
                    owner=TEAMS[id % 5],
                    problems=_problems(id),
                    due_at=NOW + timedelta(days=30, seconds=id),
                )
                for id in ids
            ],
            BORN + timedelta(hours=1),
        )


def _problems(id: int) -> tuple[RuleProblem, ...]:
    if id % 50:
        return ()
    return (
        RuleProblem(
            rule="expiry",
            runbook="docs/rules/expiry.md",
            problem=Problem(
                severity="page" if not id % 500 else "ticket",
                fingerprint=None,
                summary=f"place {id} expires soon",
                text="Renew it.",
            ),
        ),
    )


def p95(call: Callable[[int], object]) -> float:
    """Milliseconds, over different ones each time."""
    draw = random.Random(5)  # noqa: S311
    taken = []
    for _ in range(CALLS):
        number = draw.randrange(CERTIFICATES)
        began = time.perf_counter()
        call(number)
        taken.append(time.perf_counter() - began)
    return sorted(taken)[int(CALLS * 0.95)] * 1e3


def queries(fleet: Fleet, reader: Reader) -> dict[str, Callable[[int], object]]:
    def listed(**asked: object) -> int:
        return len(list(reader.list(Query(**asked), NOW)))  # type: ignore[arg-type]

    leaf = fleet.certificates.leaf

    return {
        "by name": lambda n: listed(text=f"host-{n:07}.example.com"),
        "by fingerprint": lambda n: listed(text=sha256(leaf(n)).hexdigest()[:16]),
        "by location": lambda n: listed(text=place(n)),
        "next 50 to expire": lambda n: listed(limit=50),
        "50 of an owner": lambda n: listed(owner=TEAMS[n % 5], limit=50),
        "50 of a collector": lambda n: listed(collector=COLLECTOR, limit=50),
        "50 of an issuer": lambda n: listed(issuer="intermediate", limit=50),
        "50 of a name that all have": lambda n: listed(text="www.example.net", limit=50),
        "50 below a domain": lambda n: listed(text="*.example.com", limit=50),
        "50 of a time": lambda n: listed(at=BORN + timedelta(hours=1), limit=50),
        "findings, 50 of an owner": lambda n: list(
            reader.findings(FindingQuery(owner=TEAMS[n % 5], limit=50))
        ),
        "show one": lambda n: (reader.served(place(n)), list(reader.history(place(n)))),
        "the overview's numbers": lambda n: (reader.counts(), reader.count_by_owner()),
    }


def paths(n: int) -> list[str]:
    name = urllib.parse.quote(f"host-{n:07}.example.com")
    return [
        f"/api/v1/certificates?q={name}",
        "/api/v1/certificates?limit=50",
        f"/api/v1/certificates?owner={TEAMS[n % 5]}&limit=50",
        f"/api/v1/findings?owner={TEAMS[n % 5]}&limit=50",
        "/api/v1/findings?severity=page&limit=50",
        f"/api/v1/locations/{urllib.parse.quote(place(n), safe='')}",
        "/api/v1/status",
    ]


def fetch(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        body: bytes = answer.read()
    return body


@contextmanager
def opened(kind: str) -> Iterator[tuple[Fleet, Callable[[], int], Callable[[], None]]]:
    """Empty, with its size on disk and what a server does by itself within a minute."""
    with ExitStack() as stack:
        if kind == "sqlite":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certwatch-fleet-")))
            path = folder / "inventory.db"
            url = f"sqlite://{path}"
            yield (
                Fleet(open_inventory(url), url),
                lambda: sum(each.stat().st_size for each in folder.glob("inventory.db*")),
                lambda: None,
            )
            return
        stack.callback(postgresql_inventories.stop)
        url = stack.enter_context(postgresql_inventories.empty())
        server, database = postgresql_inventories.server(), url.rpartition("/")[2]

        def size() -> int:
            with server.administrator(database) as connection:
                found = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
            return int(found)

        yield Fleet(open_inventory(url), url), size, lambda: server.run("VACUUM ANALYZE", database=database)


def run() -> list[Result]:
    results = [each for kind in STORES for each in _measured(kind)]
    return results


def _measured(kind: str) -> list[Result]:
    with opened(kind) as (fleet, size, analyze), tempfile.TemporaryDirectory() as folder:
        port = free_port()
        config = Path(folder, "certwatch.yaml")
        config.write_text(
            f"inventory: {fleet.url}\ntrust: {{}}\ncollectors: []\nrules: {{lint: false}}\n"
            f"exporters: [{{kind: prometheus, listen: '127.0.0.1:{port}', per_certificate: false}}]\n"
        )
        digest = rule_set(read_config(config.read_text(), env={})).digest
        how = f"{CERTIFICATES:,} certificates, {LOCATIONS:,} locations{loaded()}"
        writer = fleet.store.writer()
        fleet.scan(writer, TENTH, BORN)
        analyze()
        tenth = fleet.scan(writer, TENTH, BORN + timedelta(minutes=10), shift=4_000_000)
        fleet.scan(writer, HALF, BORN + timedelta(minutes=20))
        analyze()
        half = fleet.scan(writer, HALF, BORN + timedelta(minutes=30), shift=5_000_000)
        first = fleet.scan(writer, LOCATIONS, BORN + timedelta(minutes=40), begin=HALF)
        fleet.judge_all(writer, digest)
        analyze()
        bytes_used = size()
        day = fleet.scan(writer, LOCATIONS, BORN + timedelta(days=1), shift=6_000_000)
        grown = size()
        writer.close()
        reader = fleet.store.reader()
        asked = {name: p95(call) for name, call in queries(fleet, reader).items()}
        reader.close()
        slowest = max(asked, key=lambda name: asked[name])
        api, metrics, memory, ready, slow_path = _daemon(config, port)
    print(f"{kind}: list, p95 in ms: {asked}", file=sys.stderr)
    return [
        Result(
            what=f"fleet, {kind}: record, new certificates at two new locations each",
            measured=HALF / (first.same + first.end),
            unit="locations/s",
            how=f"the second half of them; {how}",
        ),
        Result(
            what=f"fleet, {kind}: list, the slowest of {len(asked)} kinds, p95",
            measured=asked[slowest],
            unit="ms",
            target=100,
            how=f"{slowest}; {CALLS} calls each; median of the kinds {sorted(asked.values())[len(asked) // 2]:.1f} ms; {how}",
        ),
        Result(
            what=f"fleet, {kind}: API, the slowest of {len(paths(0))} kinds, p95",
            measured=api,
            unit="ms",
            target=100,
            how=f"{slow_path}; over HTTP, a daemon of its own; {how}",
        ),
        Result(
            what=f"fleet, {kind}: /metrics, aggregates, p95", measured=metrics, unit="ms", target=50, how=how
        ),
        Result(
            what=f"fleet, {kind}: memory of the daemon, at most",
            measured=memory,
            unit="MiB",
            target=500,
            how=f"VmHWM when all was asked, {ready:.0f} s from its start until it is ready; {how}",
        ),
        Result(
            what=f"fleet, {kind}: {CHANGED:,} changes in a round over {HALF:,}, against the same over {TENTH:,}",
            measured=half.changes / tenth.changes,
            unit="x",
            # Of few places the changes share the pages that they are written to.
            target=1.2 if HALF >= 1_000_000 else None,
            how=f"{half.changes:.3f} s and {tenth.changes:.3f} s for the changes, medians of {ROUNDS}; beside them, last-seen {half.same:.1f} s"
            f" and {tenth.same:.1f} s, the scan's end {half.end:.2f} s and {tenth.end:.2f} s; {how}",
        ),
        Result(
            what=f"fleet, {kind}: {CHANGED:,} changes in a round over {LOCATIONS:,}, against the same over {HALF:,}",
            measured=day.changes / half.changes,
            unit="x",
            how=f"{day.changes:.3f} s; last-seen {day.same:.1f} s, the scan's end {day.end:.2f} s; {how}",
        ),
        Result(
            what=f"fleet, {kind}: record, nothing changed",
            measured=(LOCATIONS - ROUNDS * CHANGED) / (day.same + day.end),
            unit="/s",
            how=f"the scan's end with it; {how}",
        ),
        Result(
            what=f"fleet, {kind}: bytes a certificate with two locations",
            measured=bytes_used / CERTIFICATES,
            unit="B",
            how=f"{bytes_used / 1e6:,.0f} MB, {grown / 1e6:,.0f} MB after a round more;"
            f" DER of {len(fleet.certificates.leaf(0))} B, 4 sightings of two places, findings at one place in fifty",
        ),
    ]


def _daemon(config: Path, port: int) -> tuple[float, float, float, float, str]:
    """p95 of the API's slowest kind and of /metrics, MiB, seconds until it is ready, and which kind."""
    began = time.perf_counter()

    def is_ready() -> bool:
        try:
            return fetch(port, "/-/ready") == b"ready\n"
        except OSError:
            return False

    words = [sys.executable, "-m", "certwatch", "-c", str(config), "run"]
    with running(words, ready=is_ready, log=config.with_name("log"), seconds=1500) as process:
        ready = time.perf_counter() - began
        kinds = [
            p95(lambda n, kind=kind: fetch(port, paths(n)[kind]))  # type: ignore[misc]
            for kind in range(len(paths(0)))
        ]
        metrics = p95(lambda n: fetch(port, "/metrics"))
        status = Path(f"/proc/{process.pid}/status").read_text()
        memory = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return max(kinds), metrics, memory, ready, paths(0)[kinds.index(max(kinds))]
