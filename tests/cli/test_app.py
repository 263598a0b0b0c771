"""The program as others call it: exit status, streams, start-up."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from certwatch.cli.app import VERBS, app
from tests.cli.stage import fill, run, write_config

PROGRAM = [sys.executable, "-m", "certwatch"]


def test_help_lists_every_verb_and_loads_none() -> None:
    code = (
        "import sys; from certwatch.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "loaded = [name for name in ('pydantic', 'yaml', 'rich', 'sqlite3', 'asyncio', 'cryptography')"
        " if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for verb, (_, text) in VERBS.items():
        assert f"  {verb}  " in done.stdout
        assert text in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    command = app.get_command(None, verb)  # type: ignore[arg-type]
    assert command is not None
    assert command.name == verb
    ran = run(verb, "--help")
    assert ran.status == 0
    assert ran.out.startswith(f"Usage: app {verb} ") or f" {verb} " in ran.out


def test_listing_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    fill(tmp_path)
    config = write_config(tmp_path)
    code = (
        "import sys; from certwatch.cli.app import app\n"
        f"try: app(['-c', {str(config)!r}, 'list', 'www.example.com'])\n"
        "except SystemExit as ended: assert not ended.code\n"
        "loaded = [name for name in ('pydantic', 'rich', 'asyncio', 'sqlite_utils', 'click.testing')"
        " if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)


def test_an_unknown_verb_names_the_nearest() -> None:
    ran = run("lits")
    assert (ran.status, ran.out) == (2, "")
    assert 'unknown verb "lits", did you mean "list"?' in ran.err


def test_without_a_verb_it_explains_itself_and_is_a_usage_error() -> None:
    ran = run()
    assert ran.status == 2
    assert "Commands:" in ran.out + ran.err


def test_a_config_that_is_not_there_is_a_config_error() -> None:
    for args in (["-c", "/nonexistent", "list"], ["list", "-c", "/nonexistent"]):
        ran = run(*args)
        assert (ran.status, ran.out) == (2, "")
        assert ran.err == "certwatch: /nonexistent: there is no such file. Name another with -c\n"


def test_a_reader_that_has_enough_is_left_in_peace(tmp_path: Path) -> None:
    fill(tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as output:
        done = subprocess.run(
            [*PROGRAM, "-c", write_config(tmp_path), "list"],
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=20,
        )
    assert done.stderr == b""
    assert done.returncode == 128 + signal.SIGPIPE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    fill(tmp_path)
    with Path("/dev/full").open("wb") as output:
        done = subprocess.run(
            [*PROGRAM, "-c", write_config(tmp_path), "list"],
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=20,
        )
    assert done.returncode == 3
    assert done.stderr.decode() == "certwatch: output: No space left on device\n"


def test_a_terminal_that_knows_few_characters_ends_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    done = subprocess.run(
        [*PROGRAM, "-c", write_config(tmp_path), "list"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "iso-8859-1"},
        timeout=20,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u2014" in done.stdout
