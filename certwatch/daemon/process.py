"""The process around the daemon: its limits, its last words, and its end whatever hangs."""

import logging
import os
import resource
import sys
import threading
import time
from contextlib import suppress
from typing import NoReturn

OK, USAGE, FAILED = 0, 2, 3
#: Enough for 20,000 looks at once and everything else.
OPEN_FILES = 1 << 16
#: For threads that are still at work when everything has ended.
THREAD_SECONDS = 1.0


def program_name() -> str:
    """How this program was called, so that its verbs can be called in the same way."""
    return sys.argv[0] if os.path.basename(sys.argv[0]) == "certwatch" else "python -m certwatch"


def refuse(code: int, *messages: str) -> int:
    for message in messages:
        sys.stderr.write(f"certwatch: {message}\n")
    return code


def open_files() -> None:
    """As many as the administrator allows, not as many as old programs with select() can bear."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def hanging(threads: str) -> bool:
    """Some thread whose name begins so still works on something after a moment."""
    deadline = time.monotonic() + THREAD_SECONDS
    for thread in threading.enumerate():
        if thread.name.startswith(threads):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                return True
    return False


def end_at_once(code: int) -> NoReturn:
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)
