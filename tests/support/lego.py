"""A lego that follows ARI, which `tools/lego.sh` builds with Go: Debian's does not yet."""

import shutil
import subprocess
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parents[2] / "tools" / "lego.sh"
#: Half a minute alone on two cores.
BUILD_SECONDS = 420


def lego_with_ari() -> str:
    """Its path; built if it is not there. Without Go the test is left out, which it says."""
    where = subprocess.run([_SCRIPT, "--where"], check=True, capture_output=True, text=True, timeout=20)
    path = where.stdout.strip()
    if not Path(path).exists():
        if shutil.which("go") is None:
            pytest.skip("no lego that follows ARI, and no Go to build it with (tools/lego.sh)")
        built = subprocess.run([_SCRIPT], capture_output=True, text=True, timeout=BUILD_SECONDS)
        assert built.returncode == 0, built.stdout + built.stderr
    return path
