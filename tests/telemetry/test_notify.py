"""What systemd is told, over a real socket."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from certwatch.telemetry.notify import keep_alive, notify, watchdog_seconds


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as taking:
        taking.bind(str(tmp_path / "notify"))
        taking.settimeout(5)
        yield taking, {"NOTIFY_SOCKET": str(tmp_path / "notify")}


def test_lines_come_as_one_message(listening: tuple[socket.socket, dict[str, str]]) -> None:
    taking, env = listening
    notify(env, "READY=1", "STATUS=well")
    assert taking.recv(4096) == b"READY=1\nSTATUS=well"


def test_an_abstract_socket_is_one_too() -> None:
    name = f"certwatch-test-{os.getpid()}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as taking:
        taking.bind("\0" + name)
        notify({"NOTIFY_SOCKET": "@" + name}, "READY=1")
        assert taking.recv(100) == b"READY=1"


@pytest.mark.parametrize("env", [{}, {"NOTIFY_SOCKET": "/nowhere/at/all"}, {"NOTIFY_SOCKET": "relative"}])
def test_where_nobody_listens_nothing_happens(env: dict[str, str]) -> None:
    notify(env, "READY=1")


@pytest.mark.parametrize(
    ("env", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_a_sign_of_life_is_given_twice_as_often_as_wanted(env: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(env) == seconds


@pytest.mark.anyio
async def test_signs_of_life_come_until_it_is_cancelled(
    listening: tuple[socket.socket, dict[str, str]],
) -> None:
    taking, env = listening
    task = asyncio.create_task(keep_alive({**env, "WATCHDOG_USEC": "20000"}, lambda: "well"))
    for _ in range(3):
        assert await asyncio.to_thread(taking.recv, 100) == b"WATCHDOG=1\nSTATUS=well"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
