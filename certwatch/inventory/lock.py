"""One writer among processes: an advisory lock on a file beside the inventory."""

import fcntl
import os
from pathlib import Path

from certwatch.inventory.failures import translate
from certwatch.inventory.store import InventoryError


class WriterLock:
    """Held from construction to `release`, or to the end of the process, however it ends: the kernel lets go.

    Guarantees that no other WriterLock for the same inventory exists, in this process or another one of this
    machine. Holds nothing on file systems without flock(2) across machines (NFS): an inventory is a local file.
    """

    def __init__(self, inventory: Path) -> None:
        """Raises InventoryError: "locked", naming the holder; "read-only", "full" from the file system."""
        self._path = lock_path(inventory)
        with translate(inventory):
            self._file: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(self._file)
            os.close(self._file)
            raise InventoryError(
                "locked",
                f"inventory {inventory}: {holder} is writing it already, and only one may. "
                "Stop that one, or give this one an inventory of its own",
            ) from None
        except OSError:
            os.close(self._file)
            raise
        # For the message above only: the lock is the kernel's, a number left by a dead process means nothing.
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, b"%d\n" % os.getpid(), 0)
        except OSError:
            # A full disk: the next process will say "another process" without its number.
            pass

    def release(self) -> None:
        """May be called twice. The file stays: removing it would let two processes lock two files of one name."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def lock_path(inventory: Path) -> Path:
    return inventory.with_name(inventory.name + ".lock")


def _holder(file: int) -> str:
    text = os.pread(file, 32, 0).strip()
    if not text.isdigit():
        return "another process"
    return "this process" if int(text) == os.getpid() else f"process {int(text)}"
