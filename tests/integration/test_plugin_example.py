"""The acceptance test of the plug-in promises: a stranger's package is installed beside certwatch, and its
collector, rule and exporter work, though no file of certwatch knows them."""

import base64
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certwatch.plugins.testing import make_certificate
from tests.support.servers import running, wait_until

PACKAGE = Path(__file__).parent.parent / "data" / "plugin_example"

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built and installed by pip into a folder of its own."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for file in PACKAGE.iterdir():
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())
    command = [
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(target),
    ]
    subprocess.run([sys.executable, "-m", *command, str(source)], check=True, timeout=100)
    return target


def certwatch(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "certwatch", *words],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    now = datetime.now(UTC)
    issued = make_certificate(
        names=("dns:a.example.com",), not_before=now - timedelta(days=1), not_after=now + timedelta(days=900)
    )
    (tmp_path / "list").write_text(f"web {base64.b64encode(issued.der).decode()}\nbroken !!!\n")
    path = tmp_path / "certwatch.yaml"
    path.write_text(
        f"inventory: sqlite://{tmp_path}/inventory.db\n"
        f"collectors:\n  - {{name: strangers, kind: pem-list, path: {tmp_path}/list}}\n"
        f"exporters:\n  - {{kind: textfile, path: {tmp_path}/told}}\n"
        "rules:\n  too-long: {days: 800}\n"
    )
    return path


def test_a_strangers_collector_rule_and_exporter_work_untouched(
    installed: Path, config: Path, tmp_path: Path
) -> None:
    assert certwatch(installed, "config", "check", "-c", str(config)).returncode == 0

    told = config.parent / "told"
    command = [sys.executable, "-m", "certwatch", "run", "-c", str(config)]
    with running(command, ready=told.exists, log=tmp_path / "log", env={"PYTHONPATH": str(installed)}):
        wait_until(lambda: "opened too-long pem-list://web" in told.read_text(), what="the exporter is told")

    listed = certwatch(installed, "list", "a.example.com", "--json", "-c", str(config))
    assert "pem-list://web" in listed.stdout, listed.stderr

    found = certwatch(installed, "findings", "--rule", "too-long", "--json", "-c", str(config))
    (finding,) = json.loads(found.stdout)["findings"]
    assert (finding["location"], finding["severity"]) == ("pem-list://web", "info")


def test_doctor_names_it_with_version_and_distribution(installed: Path, config: Path) -> None:
    told = certwatch(installed, "doctor", "-c", str(config)).stdout
    assert "pem-list" in told
    assert "certwatch-pem-list 1.2.3" in told


def test_its_wrong_key_is_an_error_with_the_line(installed: Path, config: Path) -> None:
    config.write_text(config.read_text().replace("path: ", "paht: ", 1))
    refused = certwatch(installed, "config", "check", "-c", str(config))
    assert refused.returncode == 2
    assert f'{config}:3: collectors[0].paht: unknown key, did you mean "path"?' in refused.stderr
