"""Where events go: the promise of a sink, and the file."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class SinkError(Exception):
    """Nothing could be delivered; trying again makes sense. The message says where, what, and what to do. No
    secret stands in it."""


class Sink(Protocol):
    async def send(self, batch: Sequence[bytes]) -> Sequence[bytes]:
        """Delivers records (JSON objects, UTF-8, without a newline), in order. Returns those that are still to be
        delivered (the same objects); raises SinkError if that is all of them. Every wait in it is bounded, and it
        may be cancelled: what was under way is then sent once more."""
        ...

    async def close(self) -> None:
        """May be called twice, and before anything was sent. It may be used again afterwards."""
        ...


class FileSink:
    """Appends lines to a file that may be rotated under it: renamed or deleted (it is opened anew by its path), or
    copied and truncated (writes go to the end, O_APPEND). A line is whole or not there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    async def send(self, batch: Sequence[bytes]) -> Sequence[bytes]:
        try:
            taken = await asyncio.to_thread(self.write, batch)
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}. The events wait") from error
        return batch[taken:]

    async def close(self) -> None:
        self.shut()

    def write(self, batch: Sequence[bytes]) -> int:
        """Blocking. How many were taken, from the beginning; raises OSError if none could."""
        fd = self._current()
        taken = 0
        for record in batch:
            line = record + b"\n"
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
            self.shut()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        return self._fd

    def shut(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
