"""Real servers for tests: found, started on a free port of loopback, waited for, stopped after."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

#: Where Debian keeps programs that are not on everyone's path.
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/lib/postfix/sbin", "/usr/local/bin"])


def program(name: str, package: str) -> str:
    """Path of a real server. Missing: the test is left out on a laptop and fails in CI."""
    found = shutil.which(name, path=SEARCH)
    if found is None:
        reason = f"{name} is not installed (Debian: apt-get install {package})"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def free_port(host: str = "127.0.0.1") -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    try:
        with closing(socket.create_connection((host, port), timeout=1)):
            return True
    except OSError:
        return False


def wait_until(ready: Callable[[], bool], *, what: str, seconds: float = 60) -> None:
    """The one place where tests wait for another process: polled, bounded."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


async def until(ready: Callable[[], Awaitable[bool]], *, what: str, seconds: float = 60) -> None:
    """The same in a test that has an event loop."""
    try:
        async with asyncio.timeout(seconds):
            while not await ready():  # noqa: ASYNC110 - another process's own time
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise TimeoutError(f"{what}: not within {seconds} s") from error


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    ready: Callable[[], bool],
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    seconds: float = 15,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, until the block ends. Its output goes to `log`, shown if it fails."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    try:

        def up() -> bool:
            if process.poll() is not None:
                raise RuntimeError(
                    f"{command[0]} ended with {process.returncode}:\n{log.read_text(errors='replace')}"
                )
            return ready()

        try:
            wait_until(up, what=str(command[0]), seconds=seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{log.read_text(errors='replace')}") from error
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """TERM, then KILL after five seconds, to the whole group."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=5)
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait(timeout=5)
