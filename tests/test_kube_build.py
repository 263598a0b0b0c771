"""Where tests find the programs that are built beside them, and what they say when there are none."""

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from tests.support import kube_build

SCRIPT = Path(__file__).parent.parent / kube_build.SCRIPT


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    folder = tmp_path / "certwatch" / "kubebuilder"
    (folder / "build").mkdir(parents=True)
    return folder


def script(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(SCRIPT), *words],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_the_script_and_the_tests_mean_the_same_folder(cache: Path) -> None:
    assert script("--where").stdout.strip() == str(kube_build.folder()) == str(cache)
    elsewhere = script("--where", KUBEBUILDER_ASSETS="/opt/kubebuilder")
    assert elsewhere.stdout.strip() == "/opt/kubebuilder"


def test_what_is_there_is_not_built_again(cache: Path) -> None:
    for name in ("kube-apiserver", "helm"):
        (cache / name).touch(mode=0o755)
    done = script("--begin")
    assert (done.returncode, done.stderr) == (0, "")
    assert not kube_build.is_building()


def test_a_machine_without_go_says_so(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "mkdir", "cut"):
        (tools / name).symlink_to(Path("/bin") / name if Path("/bin", name).exists() else f"/usr/bin/{name}")
    done = script(PATH=str(tools))
    assert done.returncode == 1
    assert "there is no Go here" in done.stderr
    monkeypatch.setenv("PATH", str(tools))
    assert "no Go to build it with" in kube_build.why_not("helm")


def test_a_build_is_known_by_its_lock_and_a_failed_one_shows_the_end_of_its_log(cache: Path) -> None:
    assert not kube_build.is_building()
    with (cache / "build" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert kube_build.is_building()
        kube_build.wait_for(("helm",), seconds=0)
        assert "still being built" in kube_build.why_not("helm")
    assert not kube_build.is_building()
    (cache / "build" / "log").write_text("go: downloading x\n" * 50 + "go: no such host\n")
    if "no Go" not in kube_build.why_not("helm"):
        said = kube_build.why_not("helm")
        assert said.startswith("helm could not be built")
        assert said.endswith("go: no such host")
        assert len(said.splitlines()) == 21
