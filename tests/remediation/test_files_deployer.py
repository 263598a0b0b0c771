"""Certificate and key in files: nobody reads the key who must not, nobody leads the write elsewhere, a full disk loses nothing."""

import asyncio
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from certwatch.plugins.deployer import DeployerContext, DeployFailed
from certwatch.plugins.testing import EPOCH, FakeClock, make_certificate
from certwatch.remediation.deployers import replaced
from certwatch.remediation.deployers.files import FilesConfig, FilesDeployer
from certwatch.remediation.deployers.replaced import Held
from tests.remediation.stage import CA, WWW
from tests.support.remediation import material, target

pytestmark = pytest.mark.anyio
FORMER = make_certificate(names=[WWW], issuer=CA, key_number=521)
NEW = make_certificate(names=[WWW], issuer=CA, key_number=522)
OTHER = 65533


def deployer(pattern: str, **keys: Any) -> FilesDeployer:
    return FilesDeployer(FilesConfig(paths=[pattern], **keys), DeployerContext(clock=FakeClock(EPOCH)))


def pair(folder: Path, *, key_mode: int = 0o600) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "www.pem"
    path.write_bytes(FORMER.pem)
    (folder / "www.key").write_bytes(FORMER.key_pem)
    (folder / "www.key").chmod(key_mode)
    return path


def held(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


AS_NEW = {"www.pem": NEW.chain_pem, "www.key": material(NEW).key_pem}
AS_FORMER = {"www.pem": FORMER.pem, "www.key": FORMER.key_pem}


async def test_it_is_put_there_and_back_and_leaves_nothing(tmp_path: Path) -> None:
    path = pair(tmp_path / "tls")
    it, place = deployer(f"{tmp_path}/tls/*.pem"), target(f"file://{path}", FORMER)
    await it.deploy(place, material(NEW))
    assert {name for name in held(path.parent) if "certwatch" in name} == {
        ".www.pem.certwatch-former",
        ".www.key.certwatch-former",
    }
    await it.undo(place)
    await it.forget(place)
    assert held(path.parent) == AS_FORMER
    await it.deploy(place, material(NEW))
    await it.forget(place)
    await it.forget(place)
    assert held(path.parent) == AS_NEW


@pytest.mark.skipif(shutil.which("strace") is None and "CI" not in os.environ, reason="strace is not there")
def test_the_key_is_at_no_instant_readable_for_everybody(tmp_path: Path) -> None:
    """By the system calls themselves: every file is made for its owner alone, and what it is given later never says "others"."""
    pair(tmp_path / "tls", key_mode=0o644)
    script = tmp_path / "put.py"
    script.write_text(
        "import asyncio, sys\n"
        "from types import SimpleNamespace as Issued\n"
        "from tests.remediation.test_files_deployer import deployer, material, target\n"
        f"former = Issued(der={FORMER.der!r})\n"
        f"new = Issued(der={NEW.der!r}, chain_pem={NEW.chain_pem!r}, key_pem={NEW.key_pem!r})\n"
        "async def main(folder):\n"
        "    it, place = deployer(folder + '/*.pem'), target('file://' + folder + '/www.pem', former)\n"
        "    await it.deploy(place, material(new)); await it.undo(place)\n"
        "    await it.deploy(place, material(new)); await it.forget(place)\n"
        "asyncio.run(main(sys.argv[1]))\n"
    )
    trace = tmp_path / "trace"
    calls = "openat,open,creat,chmod,fchmod,fchmodat,rename,renameat,renameat2,link,linkat,umask"
    done = subprocess.run(
        ["strace", "-f", "-y", "-s", "200", "-e", f"trace={calls}", "-o", str(trace), sys.executable, str(script), str(tmp_path / "tls")],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )  # fmt: skip
    if done.returncode and "ptrace" in done.stderr.lower():
        pytest.skip("ptrace is not allowed here")
    assert done.returncode == 0, done.stderr
    lines = [each for each in trace.read_text().splitlines() if "/tls" in each]
    made = [each for each in lines if "O_CREAT" in each]
    assert len(made) >= 8
    assert all("O_EXCL" in each and "O_NOFOLLOW" in each and ", 0600)" in each for each in made), made
    modes = [each for each in lines if "fchmod(" in each and ".key" in each]
    assert modes
    for each in modes:
        assert int(each.rpartition(")")[0].rpartition(", ")[2], 8) & 0o007 == 0, each
    assert not any(" chmod(" in each or "linkat(" in each or " link(" in each for each in lines)


async def test_owner_group_and_mode_stay(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    path = pair(tmp_path / "tls")
    for each, mode in ((path, 0o644), (path.with_name("www.key"), 0o440)):
        os.chown(each, OTHER, 12)
        each.chmod(mode)
    it, place = deployer(f"{tmp_path}/tls/*.pem"), target(f"file://{path}", FORMER)
    for act in (it.deploy(place, material(NEW)), it.undo(place)):
        await act
        for each, mode in ((path, 0o644), (path.with_name("www.key"), 0o440)):
            found = each.stat()
            assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (OTHER, 12, mode)


async def test_the_selinux_context_is_carried_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an attribute of the kind that this file system takes here: those of SELinux need a kernel that has it."""
    monkeypatch.setattr(replaced, "SELINUX", "user.certwatch_test")
    path = pair(tmp_path / "tls")
    contexts = {path: b"cert_t", path.with_name("www.key"): b"key_t"}
    try:
        for each, context in contexts.items():
            os.setxattr(each, "user.certwatch_test", context)
    except OSError:
        pytest.skip("this file system has no attributes")
    it, place = deployer(f"{tmp_path}/tls/*.pem"), target(f"file://{path}", FORMER)
    for act in (it.deploy(place, material(NEW)), it.undo(place)):
        await act
        assert {each: os.getxattr(each, "user.certwatch_test") for each in contexts} == contexts


async def test_links_of_ones_own_are_followed_and_stay(tmp_path: Path) -> None:
    """As certbot has it: live/www/fullchain.pem leads to archive/."""
    archive = tmp_path / "archive"
    path = pair(archive)
    live = tmp_path / "live"
    live.symlink_to(archive)
    (archive / "link.pem").symlink_to("www.pem")
    it, place = deployer(f"{tmp_path}/live/*.pem"), target(f"file://{live}/link.pem", FORMER)
    await it.deploy(place, material(NEW))
    assert path.read_bytes() == NEW.chain_pem
    assert (archive / "link.pem").is_symlink()
    await it.forget(place)
    assert {name: data for name, data in held(archive).items() if name != "link.pem"} == AS_NEW


@pytest.mark.parametrize("combined", [True, False])
async def test_what_somebody_removes_in_the_middle_comes_back(tmp_path: Path, combined: bool) -> None:
    path = pair(tmp_path / "tls")
    if combined:
        path.write_bytes(FORMER.pem + FORMER.key_pem)
        path.with_name("www.key").unlink()
    before = held(path.parent)
    it, place = deployer(f"{tmp_path}/tls/*.pem"), target(f"file://{path}", FORMER)
    await it.deploy(place, material(NEW))
    path.unlink()
    await it.undo(place)
    await it.forget(place)
    assert held(path.parent) == before


@pytest.mark.parametrize("what", ["folder", "file"])
async def test_links_that_somebody_else_could_lead_elsewhere_are_not_followed(
    tmp_path: Path, what: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes links of others")
    real = tmp_path / "real"
    path = pair(real)
    site = tmp_path / "site"
    if what == "folder":
        site.symlink_to(real)
        link = site
    else:
        site.mkdir()
        link = site / "www.pem"
        link.symlink_to(path)
    os.lchown(link, OTHER, OTHER)
    it, place = deployer(f"{tmp_path}/site/*.pem"), target(f"file://{site}/www.pem", FORMER)
    with pytest.raises(DeployFailed, match=rf"{link}: is a symbolic link of another user \(uid {OTHER}\)"):
        await it.deploy(place, material(NEW))
    assert held(real) == AS_FORMER
    # What they lead to their own is theirs.
    for each in real.iterdir():
        os.chown(each, OTHER, OTHER)
    await it.deploy(place, material(NEW))


async def test_a_folder_that_is_led_elsewhere_meanwhile_changes_nothing_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and writing, somebody swaps the folder: what was looked at is what is written, or nothing is."""
    path = pair(tmp_path / "tls")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "www.pem").write_bytes(b"of somebody else")
    (elsewhere / "www.key").write_bytes(b"of somebody else")
    it, place = deployer(f"{tmp_path}/tls/*.pem"), target(f"file://{path}", FORMER)
    prepare = Held.prepare

    def swapped(held: Held, data: bytes, *, mode: int) -> None:
        if (tmp_path / "tls").is_dir() and not (tmp_path / "tls").is_symlink():
            (tmp_path / "tls").rename(tmp_path / "moved")
            (tmp_path / "tls").symlink_to(elsewhere)
        prepare(held, data, mode=mode)

    monkeypatch.setattr(Held, "prepare", swapped)
    await it.deploy(place, material(NEW))
    assert held(elsewhere) == {"www.pem": b"of somebody else", "www.key": b"of somebody else"}
    assert (tmp_path / "moved" / "www.pem").read_bytes() == NEW.chain_pem


async def test_a_full_disk_leaves_the_former_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pair(tmp_path / "tls")
    it, place = deployer(f"{tmp_path}/tls/*.pem"), target(f"file://{path}", FORMER)
    prepare, left = Held.prepare, 0

    def full(held: Held, data: bytes, *, mode: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        prepare(held, data, mode=mode)

    monkeypatch.setattr(Held, "prepare", full)
    # Two are kept, two are written: it may be full at each of them.
    for room in range(4):
        left = room
        with pytest.raises(DeployFailed, match="No space left"):
            await it.deploy(place, material(NEW))
        assert (path.read_bytes(), path.with_name("www.key").read_bytes()) == (FORMER.pem, FORMER.key_pem)
        await it.undo(place)
        await it.forget(place)
        assert held(path.parent) == AS_FORMER
    left = 4
    await it.deploy(place, material(NEW))
    # And what was there comes back all the same.
    await it.undo(place)
    await it.forget(place)
    assert held(path.parent) == AS_FORMER
    assert (path.with_name("www.key").stat().st_mode & 0o777) == 0o600


async def test_a_reload_that_hangs_is_ended(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    it = deployer("/x/*.pem", reload=["sh", "-c", f"echo $$ > {mark}; sleep 600"], reload_seconds=0.5)
    with pytest.raises(DeployFailed, match=r"not done within 0\.5 s") as failed:
        await it.activate([])
    assert failed.value.kind == "reload"
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


async def test_a_systemd_unit_is_reloaded_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No systemd runs where tests run: what is called is looked at."""
    called = tmp_path / "called"
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" > {called}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    await deployer("/x/*.pem", unit="nginx.service").activate([])
    assert called.read_text() == "reload nginx.service\n"


async def test_a_signal_goes_to_the_process_of_the_pid_file(tmp_path: Path) -> None:
    pid_file, told = tmp_path / "pid", tmp_path / "told"
    text = f"trap 'echo yes > {told}; exit 0' USR1; echo ready; while :; do sleep 0.1; done"
    process = await asyncio.create_subprocess_exec("sh", "-c", text, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        pid_file.write_text(f"{process.pid}\n")
        await deployer("/x/*.pem", pid_file=str(pid_file), signal="USR1").activate([])
        async with asyncio.timeout(30):
            await process.wait()
        assert told.read_text() == "yes\n"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("text", ["-1", "0", "1", "-42", "", "nginx", "99999999999999999999"])
async def test_a_pid_file_that_names_no_single_process_signals_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """-1 is every process of the host, 0 one's own group, 1 init. Nothing is sent for real here."""
    sent: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        sent.append((pid, number))

    monkeypatch.setattr(os, "kill", kill)
    pid_file = tmp_path / "pid"
    pid_file.write_text(f"{text}\n")
    with pytest.raises(DeployFailed, match="names no process that may be signalled"):
        await deployer("/x/*.pem", pid_file=str(pid_file)).activate([])
    assert sent == []
