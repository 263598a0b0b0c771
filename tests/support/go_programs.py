"""Programs that no package has, which scripts of tools/ build with Go."""

import shutil
import subprocess
from pathlib import Path

import pytest

_TOOLS = Path(__file__).parents[2] / "tools"


def built(script: str, what: str, *, seconds: float) -> str:
    """Path of what that script of tools/ builds; built if it is not there. Without Go the test is left out, which it says."""
    path = subprocess.run(
        [_TOOLS / script, "--where"], check=True, capture_output=True, text=True, timeout=20
    ).stdout.strip()
    if not Path(path).exists():
        if shutil.which("go") is None:
            pytest.skip(f"no {what}, and no Go to build it with (tools/{script})")
        done = subprocess.run([_TOOLS / script], capture_output=True, text=True, timeout=seconds)
        assert done.returncode == 0, done.stdout + done.stderr
    return path
