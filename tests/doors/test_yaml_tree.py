"""YAML of strangers: plain values, and no depth that ends the process."""

import subprocess
import sys

import pytest
import yaml

from certwatch.doors.yaml_tree import MOST_LEVELS, TooDeep, load


def test_it_reads_what_people_write() -> None:
    assert (
        load(b"- &a {targets: ['x:1'], labels: {n: 1}}\n- *a\n")
        == [{"targets": ["x:1"], "labels": {"n": 1}}] * 2
    )
    assert load(b"") is None


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "- " * 100_000, "{a: " * 100_000, "[" * (MOST_LEVELS + 1) + "]" * (MOST_LEVELS + 1)],
)
def test_depth_is_refused_before_anything_recurses(text: str) -> None:
    # A list of targets of 100,000 brackets ended the daemon by SIGSEGV. In a process of its own, so that it may.
    code = (
        "import sys; from certwatch.doors.yaml_tree import TooDeep, load\n"
        "try: load(sys.stdin.buffer.read())\n"
        "except TooDeep as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=text.encode(), capture_output=True, timeout=60)
    assert (done.returncode, done.stdout.decode()) == (0, f"nested deeper than {MOST_LEVELS} levels\n")


def test_the_deepest_that_is_taken_is_taken() -> None:
    assert load(("[" * MOST_LEVELS + "]" * MOST_LEVELS).encode()) is not None


def test_what_is_no_yaml_is_said_as_such() -> None:
    with pytest.raises(yaml.YAMLError):
        load(b"a: [")
    assert issubclass(TooDeep, ValueError)
