"""What people and programs read, to the letter. Renew with CERTWATCH_RENEW=1, and read the difference."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from certwatch.plugins.testing import make_ca
from certwatch.x509.der import fingerprint
from tests.cli.stage import NEXT, OLD, PAY, PAY_AT, ROOT, WEB, WEB_AT, fill, later, run, write_config

DATA = Path(__file__).parent.parent / "data/cli"
NAMES = {"old": OLD, "web": WEB, "next": NEXT, "pay": PAY, "root": ROOT}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("inventory")
    fill(folder)
    (folder / "corp.pem").write_bytes(ROOT.pem)
    (folder / "partner.pem").write_bytes(make_ca("Partner Root", key_number=7).pem)
    yield write_config(folder, f"trust: {{partner: [{folder}/partner.pem], corp: [{folder}/corp.pem]}}\n")


def _stable(text: str) -> str:
    """Keys, and so fingerprints, are made anew by each run."""
    for name, issued in NAMES.items():
        digits = fingerprint(issued.der).hex()
        text = text.replace(digits, f"<SHA-256 of {name}>").replace(digits[:16], f"<{name}>")
    return text


@pytest.mark.parametrize(
    ("name", "args", "status"),
    [
        ("list.txt", ["list"], 0),
        ("list.json", ["list", "--json"], 0),
        ("list.csv", ["list", "--csv"], 0),
        ("list-at.txt", ["list", "--at", "2026-11-01T12:00:30Z"], 0),
        ("findings.txt", ["findings"], 1),
        ("findings-all.txt", ["findings", "--all"], 1),
        ("findings.json", ["findings", "--json"], 1),
        ("show-location.txt", ["show", WEB_AT], 0),
        ("show-failing-location.txt", ["show", PAY_AT], 1),
        ("show-location.json", ["show", WEB_AT, "--json"], 0),
        ("show-certificate.txt", ["show", fingerprint(PAY.der).hex()[:10]], 1),
        ("show-certificate.json", ["show", fingerprint(PAY.der).hex(), "--json"], 1),
        ("show-finding.txt", ["show", "3"], 1),
        ("export.csv", ["export", "--format", "csv"], 0),
        ("rules-explain.txt", ["rules", "explain", "expiry"], 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_output_is_as_it_was(config: Path, name: str, args: list[str], status: int) -> None:
    ran = run("-c", config, *args, clock=later())
    assert (ran.status, ran.err) == (status, "")
    said = _stable(ran.out)
    expected = DATA / name
    if os.environ.get("CERTWATCH_RENEW"):
        expected.write_text(said)
    assert said == expected.read_text()
