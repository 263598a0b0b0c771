"""`certwatch worker`, as far as it needs neither database nor daemon."""

from pathlib import Path

import pytest

from certwatch.plugins.testing import make_certificate
from tests.cli.stage import run

PUSH = ("worker", "--queue", "dmz", "--push", "https://localhost:9")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    made = make_certificate()
    path = tmp_path / "worker.pem"
    path.write_bytes(made.chain_pem + made.key_pem)
    return path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("worker", "--push", "https://localhost:9"), "which zone?"),
        (("worker", "--queue", "dmz", "--push", "http://localhost:9"), "https://host:port"),
        (("worker", "--queue", "dmz", "--push", "https://localhost:9/path"), "https://host:port"),
        # As a variable that is not set leaves it: it would wait for ever.
        (("worker", "--queue", ""), "no name of a zone"),
        (("worker", "--queue", "d m z", "--push", "https://localhost:9"), "no name of a zone"),
        (PUSH, "needs --cert"),
        (("worker", "--queue", "dmz", "--spool", "x"), "go with --push"),
        ((*PUSH, "--list"), "run it where the daemon runs"),
        (("worker", "--queue", "dmz", "--jobs", "0"), "--jobs"),
    ],
)
def test_a_mistake_of_usage_is_told(words: tuple[str, ...], said: str) -> None:
    done = run(*words)
    assert done.status == 2
    assert said in done.err


def test_a_worker_needs_an_inventory_that_it_reaches(tmp_path: Path) -> None:
    config = tmp_path / "certwatch.yaml"
    config.write_text(f"inventory: sqlite://{tmp_path}/inventory.db\ncollectors: []\n")
    done = run("-c", str(config), "worker", "--queue", "dmz")
    assert done.status == 2
    assert "workers find their jobs in PostgreSQL" in done.err


def test_a_certificate_that_is_missing_or_none_is_told(tmp_path: Path, certificate: Path) -> None:
    spool = ("--spool", str(tmp_path / "spool"))
    done = run(*PUSH, *spool, "--cert", str(tmp_path / "missing.pem"))
    assert done.status == 3
    assert "missing.pem cannot be read: No such file" in done.err
    certificate.write_text("nothing")
    done = run(*PUSH, *spool, "--cert", str(certificate))
    assert done.status == 3
    assert "They are to be PEM" in done.err


def test_a_spool_that_cannot_be_is_told(tmp_path: Path, certificate: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(*PUSH, "--cert", str(certificate), "--spool", str(tmp_path / "file" / "spool"))
    assert done.status == 3
    assert "Name a folder that this worker may write to" in done.err
