"""`python -m tests.fuzz NAME… --seconds N`: each harness in a process of its own; what is found goes to tests/data/found."""

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import fuzz

#: Of one input: longer ones find nothing that these do not.
MAX_BYTES = 16384
#: No input may take longer. The dearest passphrase that a file may ask for takes about five.
MAX_SECONDS = 25
MAX_MEBIBYTES = 1024


def run_here(name: str, arguments: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris  # type: ignore[import-untyped]

    with atheris.instrument_imports(include=["certwatch", "collectors"], enable_loader_override=False):
        harness = fuzz.load(name)
    atheris.Setup([sys.argv[0], *arguments], harness.test_one_input)
    atheris.Fuzz()


def run_apart(name: str, seconds: int, runs: int) -> bool:
    """Whether nothing was found. `runs`: stop after so many, always the same ones; 0: no such bound."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        corpus, found = Path(folder, "corpus"), Path(folder, "found")
        corpus.mkdir()
        found.mkdir()
        kept = [path.read_bytes() for path in fuzz.FOUND.glob(f"{name}-*.bin")]
        for data in (*fuzz.load(name).seeds(), *kept):
            corpus.joinpath(hashlib.sha256(data).hexdigest()).write_bytes(data)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz", "--here", name),
                *((f"-runs={runs}", "-seed=1") if runs else ()),
                *(f"-max_total_time={seconds}", f"-max_len={MAX_BYTES}", f"-timeout={MAX_SECONDS}"),
                *(f"-rss_limit_mb={MAX_MEBIBYTES}", f"-artifact_prefix={found}/", "-print_final_stats=1"),
                str(corpus),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        for path in found.iterdir():
            data = path.read_bytes()
            kept_as = fuzz.FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
            kept_as.parent.mkdir(exist_ok=True)
            kept_as.write_bytes(data)
            print(f"{name}: found {kept_as.name}, {len(data)} bytes")
        count = [line for line in done.stdout.splitlines() if "number_of_executed_units" in line]
        print(f"{name}: {count[0].split()[-1] if count else '?'} runs, status {done.returncode}", flush=True)
        if done.returncode:
            print(done.stdout[-4000:])
        return done.returncode == 0


def main() -> int:
    if sys.argv[1:2] == ["--here"]:
        run_here(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(fuzz.NAMES)}; default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each")
    parser.add_argument("--runs", type=int, default=0, help="for each at most, the same ones every time")
    asked = parser.parse_args()
    unknown = set(asked.names) - set(fuzz.NAMES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    clean = [run_apart(name, asked.seconds, asked.runs) for name in asked.names or fuzz.NAMES]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
