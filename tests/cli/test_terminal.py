"""On a terminal: a drawn table, a progress bar on standard error; elsewhere neither."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from certwatch.cli.table import fitted
from certwatch.plugins.testing import make_ca
from certwatch.x509.der import fingerprint
from tests.cli.stage import PAY, fill, write_config

PROGRAM = [sys.executable, "-m", "certwatch"]


def on_terminal(*args: str | Path, columns: int) -> str:
    """What is written when standard output is a terminal of that width."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *args],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"},
    )
    os.close(slave)
    said = b""
    try:
        while chunk := os.read(master, 65536):
            said += chunk
    except OSError:
        pass  # Linux says so that the other side is closed
    finally:
        os.close(master)
    process.wait(timeout=15)
    return said.decode()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_wide_terminal_has_every_column_and_a_narrow_one_what_matters(tmp_path: Path) -> None:
    fill(tmp_path)
    config = write_config(tmp_path)
    wide = on_terminal("-c", config, "list", columns=200)
    assert "\x1b[31m" in wide  # what has expired stands out
    assert plain(wide).splitlines()[1].split() == [
        "expires", "left", "state", "names", "issuer", "locations", "owner", "fingerprint"
    ]  # fmt: skip
    narrow = plain(on_terminal("-c", config, "list", columns=80))
    assert narrow.splitlines()[1].split()[-1] == "fingerprint"
    assert all(len(line) <= 80 for line in narrow.splitlines())
    digits = fingerprint(PAY.der).hex()[:16]
    assert digits in wide
    assert digits in narrow


def test_the_widest_columns_give_way_first() -> None:
    cells = {"a": ["short"], "b": ["two words here"], "c": ["x" * 60]}
    assert fitted(cells, 200, ()) == {"a": 5, "b": 14, "c": 60}
    assert fitted(cells, 50, ()) == {"a": 5, "b": 14, "c": 23}
    assert fitted(cells, 25, ()) == {"a": 5, "b": 6, "c": 6}
    assert fitted(cells, 18, ("b",)) == {"a": 5, "c": 8}


def test_programs_get_no_colour_and_no_progress(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(make_ca().pem)
    done = subprocess.run(
        [*PROGRAM, "scan", "--trust", tmp_path / "root.pem", tmp_path / "root.pem"],
        capture_output=True, timeout=20, check=True, env={**os.environ, "FORCE_COLOR": "1"},
    )  # fmt: skip
    assert b"\x1b" not in done.stdout
    assert done.stderr == b""
