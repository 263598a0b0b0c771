"""Where lines go. A sink takes a batch whole or raises; the caller keeps what was not taken and tries again."""

import os
from pathlib import Path
from typing import Protocol


class Sink(Protocol):
    def write(self, batch: list[bytes]) -> int:
        """Blocking. Returns how many of the batch were taken, from its beginning; raises OSError if none could."""
        ...

    def close(self) -> None: ...


class FileSink:
    """Appends lines to a file that may be rotated under it: renamed away (it is opened anew by its path), or copied
    and truncated (writes go to the end, O_APPEND). A line is whole or not there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def write(self, batch: list[bytes]) -> int:
        fd = self._current()
        taken = 0
        for line in batch:
            start = os.lseek(fd, 0, os.SEEK_END)
            try:
                written = os.write(fd, line)
            except OSError:
                if taken:
                    return taken
                raise
            if written != len(line):
                # The disk is full in the middle of a line: take the half line back, so that it can be written whole.
                os.ftruncate(fd, start)
                return taken
            taken += 1
        return taken

    def _current(self) -> int:
        if self._fd is not None:
            opened = os.fstat(self._fd)
            try:
                named = os.stat(self._path)
            except FileNotFoundError:
                named = None
            if named is not None and (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino):
                return self._fd
            self.close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        return self._fd

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
