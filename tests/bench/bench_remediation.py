"""A compromise drill: certificates over as many server blocks of one nginx, until each is seen everywhere.

CERTWATCH_BENCH_CERTIFICATES says how many; the bound is for 1,000."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

import psutil

from tests.bench.result import Result
from tests.support.remediation import OLD_CA, fleet

COUNT = int(os.environ.get("CERTWATCH_BENCH_CERTIFICATES", "100"))
#: For 1,000; fewer must be as much faster.
SECONDS = 600 * COUNT / 1000
MIB = 400


def run() -> list[Result]:
    with tempfile.TemporaryDirectory() as name, fleet(Path(name), COUNT) as it:
        process = psutil.Process(it.daemon.process.pid)
        before = process.memory_info().rss
        command = ["remediate", "compromise", hashlib.sha256(OLD_CA.der).hexdigest(), "--why", "bench"]
        done = it.daemon.command(
            *command, "--drill", "environment=staging", "--wait", "--json", seconds=SECONDS * 4 + 60
        )
        said = json.loads(done.stdout)["incident"]
        assert said["plans"] == {"verified": COUNT}, said
        after = process.memory_info().rss
        peak = max(after, int(_status(process.pid, "VmHWM")) * 1024)
    how = f"{COUNT} certificates over {COUNT} nginx server blocks, from the alarm until all are seen"
    return [
        Result(
            what="compromise drill (M10)",
            measured=said["recovery_seconds"],
            unit="s",
            target=SECONDS,
            how=how,
        ),
        Result(
            what="compromise drill, memory at its peak",
            measured=peak / (1 << 20),
            unit="MiB",
            target=MIB,
            how=f"{before / (1 << 20):.0f} MiB before",
        ),
    ]


def _status(pid: int, key: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key):
            return line.split()[1]
    return "0"
