"""A scan by two workers against the same by one, where it is bound by waiting: endpoints that take 50 ms."""

import signal
import tempfile
from pathlib import Path

from tests.bench.bench_inventory import loaded
from tests.bench.result import Result
from tests.support import postgresql_inventories
from tests.support.delayed import delayed_site
from tests.support.servers import wait_until
from tests.support.zones import Stage, stage

NAME = "www.example.com"
DELAY_MILLISECONDS = 50
#: Of one network, in so many parts; each worker does one part at a time, with so many looks under way.
ADDRESSES, PARTS, UNDER_WAY = 2048, 16, 8


def _seconds(staged: Stage, after: int) -> tuple[float, int]:
    """Of the collector's next scan after that one, and which it is."""

    def ended() -> bool:
        scan = staged.last_scan("edge")
        return scan is not None and scan.id > after and scan.status != "running"

    wait_until(ended, what="the scan", seconds=180)
    scan = staged.last_scan("edge")
    if (
        scan is None
        or scan.finished_at is None
        or (scan.status, scan.observations) != ("complete", ADDRESSES)
    ):
        raise RuntimeError(f"{scan}\n{staged.logs}")
    return (scan.finished_at - scan.started_at).total_seconds(), scan.id


def run() -> list[Result]:
    try:
        with (
            tempfile.TemporaryDirectory() as name,
            postgresql_inventories.empty() as url,
            delayed_site(Path(name), NAME, DELAY_MILLISECONDS) as port,
        ):
            folder = Path(name) / "stage"
            folder.mkdir()
            with stage(folder, url) as staged:
                staged.worker("one", "--jobs", "1")
                daemon = staged.daemon(
                    f" [{{kind: tls, name: edge, zone: dmz, every: 1h, targets: ['127.1.0.0/21:{port}'],"
                    f" server_name: {NAME}, concurrency: {UNDER_WAY}}}]",
                    part_looks=ADDRESSES // PARTS,
                )
                # The first one finds everything new.
                _, first = _seconds(staged, 0)
                times = []
                for number in (1, 2):
                    if number == 2:
                        staged.worker("two", "--jobs", "1")
                    text = daemon.config.read_text()
                    daemon.config.write_text(text.replace(f"every: {number}h", f"every: {number + 1}h"))
                    daemon.signal(signal.SIGHUP)
                    seconds, first = _seconds(staged, first)
                    times.append(seconds)
    finally:
        postgresql_inventories.stop()
    one, two = times
    return [
        Result(
            what="workers: scan rate of two against one, targets with 50 ms of delay",
            measured=one / two,
            unit="x",
            target=1.7,
            at_least=True,
            how=f"{ADDRESSES:,} endpoints in {PARTS} parts, {UNDER_WAY} looks under way a worker, nothing changed:"
            f" {ADDRESSES / one:,.0f}/s and {ADDRESSES / two:,.0f}/s" + loaded(),
        )
    ]
