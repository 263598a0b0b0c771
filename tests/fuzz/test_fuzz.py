"""The harnesses work, and what they once found stays mended."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import fuzz

KEPT = sorted(fuzz.FOUND.glob("*.bin"))


@pytest.mark.parametrize("name", fuzz.NAMES)
def test_good_inputs_and_their_beginnings_are_taken(name: str) -> None:
    harness = fuzz.load(name)
    seeds = list(harness.seeds())
    assert seeds
    for seed in seeds:
        harness.test_one_input(seed)
        harness.test_one_input(seed[: len(seed) // 2])
    harness.test_one_input(b"")


@pytest.mark.parametrize("path", KEPT, ids=lambda path: str(path.stem))
def test_what_was_found_stays_mended(path: Path) -> None:
    harness = fuzz.load(path.name.rpartition("-")[0])
    harness.test_one_input(fuzz.FOUND.joinpath(path.name).read_bytes())


@pytest.mark.fuzz
@pytest.mark.integration
@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", fuzz.NAMES)
def test_a_short_run_finds_nothing(name: str) -> None:
    """The same inputs every time: a new find belongs to a long run (`python -m tests.fuzz`), not to somebody's unrelated change."""
    pytest.importorskip("atheris", reason="atheris has no wheel for this Python")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", name, "--runs", "3000", "--seconds", "5"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "? runs" not in done.stdout
