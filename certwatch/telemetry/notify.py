"""What systemd is told of a service's life: sd_notify(3), Type=notify, WatchdogSec."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress

from certwatch.telemetry.logs import get_logger

log = get_logger(__name__)


def notify(env: Mapping[str, str], *lines: str) -> None:
    """`READY=1`, `STOPPING=1`, `STATUS=…`. Nobody asked for it, or nobody listens: nothing happens."""
    address = env.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
        told.setblocking(False)
        # An abstract address begins with a NUL.
        told.connect("\0" + address[1:] if address.startswith("@") else address)
        told.send("\n".join(lines).encode())


def watchdog_seconds(env: Mapping[str, str]) -> float | None:
    """Half of the time within which a sign of life is wanted. None: none is, or of another process."""
    try:
        if int(env.get("WATCHDOG_PID", os.getpid())) != os.getpid():
            return None
        seconds = int(env["WATCHDOG_USEC"]) / 2e6
    except (KeyError, ValueError):
        return None
    return seconds if seconds > 0 else None


async def keep_alive(env: Mapping[str, str], status: Callable[[], str]) -> None:
    """Signs of life from the event loop itself, so that one that hangs is noticed, until cancelled."""
    seconds = watchdog_seconds(env)
    if seconds is None:
        return
    while True:
        notify(env, "WATCHDOG=1", f"STATUS={status()}")
        await asyncio.sleep(seconds)
