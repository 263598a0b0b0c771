"""`certwatch backup`, `restore` and `completion`."""

import subprocess
from pathlib import Path

import pytest

from tests.cli.stage import fill, run, write_config


def test_a_backup_is_made_and_put_back(tmp_path: Path) -> None:
    fill(tmp_path)
    config = write_config(tmp_path)
    before = run("list", "--json", "-c", config).out
    made = run("backup", tmp_path / "copy.db", "-c", config)
    assert (made.status, "certificates at" in made.out) == (0, True), made.err
    refused = run("restore", tmp_path / "copy.db", "-c", config)
    assert (refused.status, "say --replace" in refused.err) == (3, True)
    assert run("restore", tmp_path / "copy.db", "--replace", "-c", config).status == 0
    assert run("list", "--json", "-c", config).out == before


def test_a_backup_of_nothing_says_so(tmp_path: Path) -> None:
    ran = run("backup", tmp_path / "copy.db", "-c", write_config(tmp_path))
    assert (ran.status, "there is no such file" in ran.err) == (3, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_the_program(shell: str) -> None:
    ran = run("completion", shell)
    assert (ran.status, "_CERTWATCH_COMPLETE" in ran.out) == (0, True)


def test_bash_takes_its_completion(tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(run("completion", "bash").out)
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
