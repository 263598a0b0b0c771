"""Coverage-guided fuzzing of every parser: `python -m tests.fuzz NAME… --seconds N`.

A module `fuzz_NAME` has `seeds()`, good inputs to begin with, and `TestOneInput(data)`, which must come back whatever the
bytes are. What once did not is kept in tests/data/found/NAME-….bin and tried by every run of the tests.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

FOUND = Path(__file__).parents[1] / "data/found"
NAMES = tuple(sorted(path.stem.removeprefix("fuzz_") for path in Path(__file__).parent.glob("fuzz_*.py")))


class Harness(NamedTuple):
    seeds: Callable[[], Iterable[bytes]]
    test_one_input: Callable[[bytes], None]


def load(name: str) -> Harness:
    module = import_module(f"tests.fuzz.fuzz_{name}")
    return Harness(module.seeds, module.TestOneInput)
