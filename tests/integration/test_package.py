"""The wheel that `make package` builds runs in an environment of its own, and the unit is one that systemd takes."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("*.whl")
    return made


def test_everything_that_is_no_python_is_in_the_wheel(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    for package in ("certwatch", "collectors", "rules", "exporters"):
        wanted = {
            str(each.relative_to(ROOT))
            for each in (ROOT / package).rglob("*")
            if each.is_file() and "__pycache__" not in each.parts
        }
        assert wanted <= held, wanted - held


def test_it_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    # Its own files from the wheel, what it depends on from here; not this checkout.
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r})\n"
        "import certwatch, certwatch.cli\n"
        f"assert certwatch.__file__.startswith({str(target)!r}), certwatch.__file__\n"
        "sys.argv = ['certwatch', 'list', '--json', '-c', sys.argv[1]]\n"
        "from certwatch.inventory import open_inventory\n"
        f"open_inventory('sqlite://{tmp_path}/inventory.db')\n"
        "certwatch.cli.main()"
    )
    config = tmp_path / "certwatch.yaml"
    config.write_text(f"inventory: sqlite://{tmp_path}/inventory.db\n")
    done = subprocess.run(
        [sys.executable, "-c", code, str(config)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "certificates" in done.stdout) == (0, True), done.stderr


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "certwatch.service"
    text = (ROOT / "deploy/systemd/certwatch.service").read_text()
    # What it starts is not installed here.
    unit.write_text(text.replace("/usr/local/bin/certwatch", "/bin/true"))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    wrong = [each for each in (done.stdout + done.stderr).splitlines() if "certwatch.service" in each]
    assert wrong == []


def test_the_manual_page_has_every_verb(tmp_path: Path) -> None:
    from certwatch.cli.app import VERBS
    from tools.man_page import page

    text = page()
    for verb in VERBS:
        assert f".SS certwatch {verb}" in text
    mandoc = shutil.which("mandoc") or shutil.which("groff")
    if mandoc is not None:
        (tmp_path / "certwatch.1").write_text(text)
        command = [
            mandoc,
            "-man",
            "-Tascii" if mandoc.endswith("groff") else "-Tlint",
            str(tmp_path / "certwatch.1"),
        ]
        assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode in (0, 2)
