"""`certwatch mark`: said, shown, taken back."""

import json
from pathlib import Path

import pytest

from certwatch.x509.der import read
from tests.cli.stage import WEB, fill, run, write_config

PRINT = read(WEB.der).fingerprint_sha256.hex()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    fill(tmp_path)
    return write_config(tmp_path)


def test_a_key_is_marked_by_a_fingerprints_beginning_listed_and_taken_back(config: Path) -> None:
    ran = run("mark", "compromised", PRINT[:12], "--why", "laptop stolen", "--by", "ada", "-c", config)
    assert (ran.status, ran.out) == (0, "mark 1: www.example.com is compromised\n"), ran.err
    listed = json.loads(run("mark", "list", "--json", "-c", config).out)["marks"]
    assert [(each["kind"], each["fingerprint_sha256"], each["author"]) for each in listed] == [
        ("compromised", PRINT, "ada")
    ]
    assert "laptop stolen" in run("mark", "list", "-c", config).out
    assert run("mark", "end", "1", "-c", config).out.startswith("mark 1 ended")
    assert run("mark", "list", "-c", config).err == "certwatch: nothing is marked\n"
    assert "taken back" in run("mark", "list", "--all", "-c", config).out


def test_a_certificate_that_was_never_seen_is_marked_by_its_file(config: Path, tmp_path: Path) -> None:
    for name, data in (("a.pem", WEB.pem), ("a.der", WEB.der)):
        (tmp_path / name).write_bytes(data)
        said = json.loads(
            run("mark", "retired", tmp_path / name, "--why", "moved", "--json", "-c", config).out
        )
        assert said["fingerprint_sha256"] == PRINT


@pytest.mark.parametrize(
    ("what", "status", "part"),
    [
        ("beef", 2, "neither a file nor a fingerprint"),
        ("0" * 64, 3, "no such certificate"),
        ("nothing-there.pem", 2, "neither a file nor a fingerprint"),
    ],
)
def test_what_is_no_certificate_is_refused(config: Path, what: str, status: int, part: str) -> None:
    ran = run("mark", "retired", what, "--why", "x", "-c", config)
    assert ran.status == status
    assert part in ran.err


def test_a_file_that_holds_no_certificate_is_refused(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    path.write_text("nothing")
    ran = run("mark", "retired", path, "--why", "x", "-c", config)
    assert (ran.status, "no certificate that can be read" in ran.err) == (2, True)


def test_a_mark_that_is_not_there_cannot_be_taken_back(config: Path) -> None:
    assert run("mark", "end", "7", "-c", config).status == 3
