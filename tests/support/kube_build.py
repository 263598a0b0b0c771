"""Programs that `tools/kube_apiserver.sh` builds: found, waited for, and why there is none."""

import fcntl
import os
import shutil
import time
from pathlib import Path

#: That tests wait once all others are through, beside which it was built already: a whole build takes a quarter to half an hour on two
#: cores, and a run of CI has an end.
LONGEST_SECONDS = 35 * 60
SCRIPT = "tools/kube_apiserver.sh"


def folder() -> Path:
    """As envtest has it: $KUBEBUILDER_ASSETS; else where the script builds."""
    named = os.environ.get("KUBEBUILDER_ASSETS")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(named) if named else cache / "certwatch" / "kubebuilder"


def found(name: str) -> Path | None:
    path = folder() / name
    return path if path.exists() else None


def is_building() -> bool:
    """Somebody holds the lock."""
    try:
        with (folder() / "build" / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def wait_for(names: tuple[str, ...], *, seconds: float = LONGEST_SECONDS) -> None:
    """Until they are there, or nobody builds them (any more)."""
    deadline = time.monotonic() + seconds
    while any(found(name) is None for name in names) and is_building() and time.monotonic() < deadline:
        time.sleep(0.5)


def why_not(name: str) -> str:
    """One line, and the end of the build's log if there was one."""
    if is_building():
        return f"{name} is still being built ({folder()}/build/log)"
    if shutil.which("go") is None:
        return f"{name} is not there, and no Go to build it with ({SCRIPT})"
    try:
        lines = (folder() / "build" / "log").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    if not lines:
        return f"{name} is not there ({SCRIPT} builds it; or name a folder that has it by KUBEBUILDER_ASSETS)"
    return f"{name} could not be built by {SCRIPT}:\n" + "\n".join(lines[-20:])
