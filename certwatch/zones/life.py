"""What every worker has, however it hands in."""

import os
import socket
import time

#: In a lease, how often a worker says that it is alive.
KEEPS_A_LEASE = 5
#: For jobs under way, when it is told to stop; then they are given back.
STOP_SECONDS = 10.0


def boottime() -> float:
    """Seconds of this machine, those included in which it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def worker_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
