"""The command line as people feel it: whole processes, from start to end."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from certwatch.inventory import open_inventory
from certwatch.model.location import tls_location
from certwatch.model.observation import Observation
from certwatch.plugins.testing import EPOCH, make_ca, make_certificate
from tests.bench.result import Result

#: Fewer for a quick look: CERTWATCH_BENCH_CERTIFICATES=50000.
LARGE = int(os.environ.get("CERTWATCH_BENCH_CERTIFICATES", "1000000"))
BATCH = 2_000

_SERIAL = 0x5ADDBEEF_00000000_00000001
_NAME = b"host-0000000.example.com"
PROGRAM = [sys.executable, "-m", "certwatch"]


def _seconds(command: Sequence[str | Path], times: int = 7) -> float:
    """The best of some runs: what others do on the machine only adds."""
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        best = min(best, time.perf_counter() - began)
    return best


def _fill(url: str) -> None:
    """One real certificate, with number and name written over: all parsable, each its own."""
    issuer = make_ca("Bench Intermediate")
    template = make_certificate(names=(f"dns:{_NAME.decode()}",), issuer=issuer, serial_number=_SERIAL).der
    serial = template.index(_SERIAL.to_bytes(12, "big"))
    places = [at for at in range(len(template)) if template.startswith(_NAME, at)]

    def leaf(number: int) -> bytes:
        der = bytearray(template)
        der[serial + 4 : serial + 12] = number.to_bytes(8, "big")
        for at in places:
            der[at + 5 : at + 12] = b"%07d" % number
        return bytes(der)

    writer = open_inventory(url).writer()
    scan = writer.begin_scan("edge", EPOCH)
    for start in range(0, LARGE, BATCH):
        looks = [
            Observation(
                location=tls_location(f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", 443),
                observed_at=EPOCH,
                chain=(leaf(n), issuer.der),
            )
            for n in range(start, min(start + BATCH, LARGE))
        ]
        writer.record(scan, looks, {"environment": "prod"})
    writer.finish_scan(scan, [], EPOCH + timedelta(minutes=1))
    writer.close()


def run() -> list[Result]:
    results = [
        Result(
            what="command line: --help",
            measured=_seconds([*PROGRAM, "--help"]) * 1e3,
            unit="ms",
            target=150,
            how="whole process, best of 7",
        )
    ]
    with tempfile.TemporaryDirectory(prefix="certwatch-bench-") as folder:
        config = Path(folder, "certwatch.yaml")
        config.write_text(f"inventory: sqlite://{folder}/inventory.db\n")
        _fill(f"sqlite://{folder}/inventory.db")
        how = f"{LARGE:,} certificates; config read, whole process, best of 7"
        ask = [*PROGRAM, "-c", str(config), "list"]
        name = f"host-{LARGE // 2:07}.example.com"
        for what, args, target in (
            ("list by name", [name], 300),
            ("list by name, JSON", [name, "--json"], 300),
            ("list by name, a condition", [name, "--where", 'location.labels.environment == "prod"'], None),
            ("list the next 20 to expire", ["--limit", "20"], None),
            ("list of everything below a name", ["*.host-0000001.example.com"], None),
        ):
            results.append(
                Result(
                    what=f"command line: {what}",
                    measured=_seconds([*ask, *args]) * 1e3,
                    unit="ms",
                    target=target,
                    how=how,
                )
            )
    return results
