"""`make bench`: runs every tests/bench/bench_*.py in a process of its own, prints a table, writes bench.json.

A module has `run() -> list[Result]`. `python -m tests.bench NAME…` runs only those.
"""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.result import Result

FOLDER = Path(__file__).parent


def _run_here(name: str) -> None:
    module = __import__(f"tests.bench.bench_{name}", fromlist=["run"])
    json.dump([asdict(result) for result in module.run()], sys.stdout)


def _run_apart(name: str) -> list[Result]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--here", name],
        stdout=subprocess.PIPE,
        check=True,
        timeout=1800,
    )
    return [Result(**row) for row in json.loads(done.stdout)]


def main(names: list[str]) -> int:
    known = sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))
    table = Table("what", "measured", "target", "", "how", title="certwatch benchmarks")
    rows: list[Result] = []
    failed = False
    for name in names or known:
        print(f"bench {name} …", file=sys.stderr, flush=True)
        try:
            results = _run_apart(name)
        except (subprocess.SubprocessError, ValueError) as error:
            print(f"bench {name} failed: {error}", file=sys.stderr)
            failed = True
            continue
        rows += results
    for row in rows:
        bound = "" if row.target is None else f"{'≥' if row.at_least else '≤'} {row.target:g} {row.unit}"
        verdict = {None: "", True: "met", False: "MISSED"}[row.met]
        table.add_row(row.what, f"{row.measured:,.3g} {row.unit}", bound, verdict, row.how)
    Console(width=200 if not sys.stdout.isatty() else None).print(table)
    Path("bench.json").write_text(
        json.dumps([asdict(row) | {"met": row.met} for row in rows], indent=2) + "\n"
    )
    return 1 if failed or any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        _run_here(sys.argv[2])
    else:
        sys.exit(main(sys.argv[1:]))
