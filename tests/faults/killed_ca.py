"""A CA at work that is killed at its n-th SQL statement, for every n until it comes to its end: `python -m tests.faults.killed_ca
FOLDER`. Each time a copy of FOLDER/base is worked on; what had left the CA before stands in FOLDER/N/left."""

import os
import shutil
import signal
import sys
from pathlib import Path

from certwatch.ca import crl
from tests.support.cas import authority, issued

MOST = 400


def work(folder: Path, last: int) -> None:
    left = os.open(folder / "left", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    executed = 0

    def count(statement: str) -> None:
        nonlocal executed
        executed += 1
        if executed == last:
            os.kill(os.getpid(), signal.SIGKILL)

    with authority(folder) as ca:
        ca.connection.set_trace_callback(count)
        for number in range(2):
            made = issued(ca, f"dns:h{number}.example.com")
            os.write(left, f"issued {made.serial}\n".encode())
        crl.revoke(ca, made.serial, "key-compromise", "ann")
        os.write(left, f"revoked {made.serial}\n".encode())


def main(folder: Path) -> None:
    for last in range(1, MOST):
        at = folder / str(last)
        shutil.copytree(folder / "base", at)
        # The key's file is named in the database by its path.
        child = os.fork()
        if child == 0:
            work(at, last)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            print(last, os.WEXITSTATUS(status))
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
