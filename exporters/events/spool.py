"""What has to be delivered, on disk until it is: first in, first out, bounded in bytes.

A folder of segments, `0000000001.log` and on, each of lines `CRC32 RECORD\\n`, and a file `position` that says how far
delivery got. Appending is one write and one fdatasync, so that what was taken outlives `kill -9` and a power cut. A
crash between delivery and `acknowledge` gives the last batch once more: at least once, never less.
"""

import errno
import fcntl
import os
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: Segments in a full spool: the oldest of them is what an overflow costs.
SEGMENTS = 16
LEAST_BYTES = 64 << 10
#: Kept in memory while the disk takes nothing.
MEMORY_BYTES = 16 << 20
_HEAD = 9  # eight hex digits and a space


class SpoolError(Exception):
    """It cannot be used. The message says where and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The next byte to deliver."""

    segment: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    records: tuple[bytes, ...]
    #: Where each record ends; the last: where the batch does. Empty: from memory.
    ends: tuple[Position, ...]


class Spool:
    """Blocking; any thread may call it, one at a time is served. Records hold no newline.

    While the disk takes nothing (full, read-only, no folder given) records wait in memory, bounded as well, and are
    moved to the disk when it takes them. Order is kept throughout.
    """

    def __init__(self, folder: Path | None, *, max_bytes: int, lost: Callable[[str, int], None]) -> None:
        """`lost(reason, count)`: records given up, "full" or "damaged"."""
        self._folder = folder
        self._max_bytes = max(max_bytes, LEAST_BYTES)
        self._segment_bytes = self._max_bytes // SEGMENTS
        self._lost = lost
        # Guards everything below.
        self._lock = threading.Lock()
        # Segment number → bytes in it, in order.
        self._segments: dict[int, int] = {}
        self._position = Position(segment=1, offset=0)
        self._appending: int | None = None
        self._reading: tuple[int, int] | None = None
        self._locked: int | None = None
        self._memory: deque[bytes] = deque()
        self._memory_bytes = 0
        # True while a batch from memory is being delivered; then how many of it were given up meanwhile.
        self._lent = False
        self._lent_lost = 0

    def open(self) -> None:
        """Raises SpoolError: another process has it, or the folder cannot be had. Open already: nothing."""
        with self._lock:
            if self._folder is None or self._locked is not None:
                return
            try:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
                locked = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
                try:
                    fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._recover()
                except OSError:
                    os.close(locked)
                    raise
            except BlockingIOError as error:
                raise SpoolError(
                    f"{self._folder}: in use by another certwatch. Give each its own spool"
                ) from error
            except OSError as error:
                raise SpoolError(
                    f"{self._folder}: {error.strerror}. Set spool to a folder that may be written"
                ) from error
            self._locked = locked

    def _recover(self) -> None:
        assert self._folder is not None  # noqa: S101
        found = sorted((int(each.stem), each) for each in self._folder.glob("*.log") if each.stem.isdigit())
        self._segments = {}
        for number, path in found:
            self._segments[number] = path.stat().st_size
        self._position = self._read_position()
        if not self._segments:
            return
        last = max(self._segments)
        # A crash in the middle of a write: the half line was never promised to anybody.
        whole = _whole_lines(self._path(last))
        if whole < self._segments[last]:
            os.truncate(self._path(last), whole)
            self._segments[last] = whole
        self._forget_delivered()

    def _read_position(self) -> Position:
        assert self._folder is not None  # noqa: S101
        first = Position(segment=min(self._segments, default=1), offset=0)
        try:
            segment, offset = map(int, (self._folder / "position").read_text().split())
        except (FileNotFoundError, ValueError):
            return first  # delivered once more, rather than not at all
        if segment < first.segment or offset > self._segments.get(segment, 0):
            return first if segment < first.segment else Position(segment=segment, offset=0)
        return Position(segment=segment, offset=max(0, offset))

    def append(self, records: Iterable[bytes]) -> OSError | None:
        """Takes them, whatever the disk says. The error: they wait in memory alone, and a crash loses them."""
        with self._lock:
            for record in records:
                self._memory.append(record)
                self._memory_bytes += len(record)
            error = self._to_disk()
            dropped = 0
            while self._memory_bytes > MEMORY_BYTES and self._memory:
                self._memory_bytes -= len(self._memory.popleft())
                dropped += 1
            self._give_up(dropped)
            return error

    def _give_up(self, count: int) -> None:
        if count:
            self._lost("full", count)
        if self._lent:
            self._lent_lost += count

    def _to_disk(self) -> OSError | None:
        if self._locked is None or not self._memory:
            return None
        try:
            while self._memory:
                self._write_some()
        except OSError as error:
            return error
        return None

    def _write_some(self) -> None:
        """From memory into the last segment until it is full. A record is whole on disk or not there."""
        number = max(self._segments, default=self._position.segment)
        if self._segments.get(number, 0) >= self._segment_bytes:
            number += 1
            self._close_appending()
        if self._appending is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._appending = os.open(self._path(number), flags, 0o640)
            if number not in self._segments:
                self._segments[number] = 0
                self._sync_folder()
        size, lines, count = self._segments[number], bytearray(), 0
        for record in self._memory:
            if count and size + len(lines) + len(record) > self._segment_bytes:
                break
            lines += b"%08x %b\n" % (zlib.crc32(record), record)
            count += 1
        try:
            written = os.write(self._appending, lines)
            if written != len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fdatasync(self._appending)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._appending, size)
            raise
        self._segments[number] = size + len(lines)
        for _ in range(count):
            self._memory_bytes -= len(self._memory.popleft())
        self._bound()

    def _sync_folder(self) -> None:
        """A new file's name outlives a power cut."""
        assert self._folder is not None  # noqa: S101
        fd = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _bound(self) -> None:
        while sum(self._segments.values()) > self._max_bytes and len(self._segments) > 1:
            oldest = min(self._segments)
            start = self._position.offset if oldest == self._position.segment else 0
            lost = self._path(oldest).read_bytes()[start:].count(b"\n")
            self._remove(oldest)
            self._position = Position(segment=min(self._segments), offset=0)
            self._save_position()
            self._give_up(lost)

    def read(self, *, most: int, most_bytes: int) -> Batch:
        """The next records, the same until they are acknowledged. Empty: nothing waits. Raises OSError."""
        with self._lock:
            while self._segments:
                self._step_over_missing()
                lines, end = self._lines(most, most_bytes)
                records, ends, damaged = _checked(lines, self._position)
                if damaged:
                    self._lost("damaged", damaged)
                if records:
                    return Batch(records=tuple(records), ends=tuple(ends))
                if end == self._position:
                    break
                self._move(end)
            taken: list[bytes] = []
            size = 0
            for record in self._memory:
                if taken and (len(taken) >= most or size + len(record) > most_bytes):
                    break
                taken.append(record)
                size += len(record)
            self._lent, self._lent_lost = bool(taken), 0
            return Batch(records=tuple(taken), ends=())

    def _step_over_missing(self) -> None:
        if self._position.segment not in self._segments:
            later = [each for each in self._segments if each > self._position.segment]
            self._position = Position(segment=min(later or self._segments), offset=0)

    def _lines(self, most: int, most_bytes: int) -> tuple[list[bytes], Position]:
        """Whole lines from the position on, and where they end; the next segment if this one is finished."""
        number, offset = self._position.segment, self._position.offset
        if offset >= self._segments[number]:
            later = [each for each in self._segments if each > number]
            return [], Position(segment=min(later), offset=0) if later else self._position
        fd = self._open_reading(number)
        size = most_bytes
        while True:
            data = os.pread(fd, min(size, self._segments[number] - offset), offset)
            lines = data.split(b"\n")[:-1][:most]
            if lines or size >= self._segments[number]:
                break
            size *= 4  # one record longer than a batch
        taken = sum(len(line) + 1 for line in lines)
        if not lines:
            return [], Position(segment=number, offset=self._segments[number])
        return lines, Position(segment=number, offset=offset + taken)

    def _open_reading(self, number: int) -> int:
        if self._reading is None or self._reading[0] != number:
            self._close_reading()
            self._reading = number, os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)
        return self._reading[1]

    def acknowledge(self, batch: Batch, count: int) -> None:
        """The first `count` of the batch are delivered, or given up for good. Raises OSError: they come again after
        a restart."""
        with self._lock:
            if not count:
                return
            if not batch.ends:
                self._forget_first(max(0, count - self._lent_lost))
                self._lent = False
                return
            end = batch.ends[count - 1]
            if (end.segment, end.offset) > (self._position.segment, self._position.offset):
                self._move(end)

    def _forget_first(self, count: int) -> None:
        """Of a batch that was read from memory: since then the disk may have taken some of it."""
        while count and self._segments:
            self._step_over_missing()
            lines, end = self._lines(count, LEAST_BYTES)
            if end == self._position:
                break
            self._move(end)
            count -= len(lines)
        for _ in range(min(count, len(self._memory))):
            self._memory_bytes -= len(self._memory.popleft())

    def _move(self, position: Position) -> None:
        self._position = position
        self._forget_delivered()
        self._save_position()

    def _forget_delivered(self) -> None:
        newest = max(self._segments, default=0)
        for number in [each for each in self._segments if each < self._position.segment]:
            self._remove(number)
        number = self._position.segment
        if number in self._segments and self._position.offset >= self._segments[number]:
            # All is delivered: an empty spool is an empty folder. Its number is not used again.
            if number == newest:
                self._position = Position(segment=number + 1, offset=0)
                self._save_position()
            else:
                self._position = Position(
                    segment=min(each for each in self._segments if each > number), offset=0
                )
            self._remove(number)

    def _remove(self, number: int) -> None:
        if number == max(self._segments):
            self._close_appending()
        if self._reading is not None and self._reading[0] == number:
            self._close_reading()
        del self._segments[number]
        self._path(number).unlink(missing_ok=True)

    def _save_position(self) -> None:
        if self._folder is None:
            return
        # By renaming: a crash leaves the old one or the new one.
        new = self._folder / "position.new"
        new.write_text(f"{self._position.segment} {self._position.offset}\n")
        new.replace(self._folder / "position")

    @property
    def waiting_bytes(self) -> int:
        with self._lock:
            delivered = self._position.offset if self._position.segment in self._segments else 0
            return sum(self._segments.values()) - delivered + self._memory_bytes

    def close(self) -> None:
        """Another may open the folder from now on. May be called twice."""
        with self._lock:
            self._close_appending()
            self._close_reading()
            if self._locked is not None:
                os.close(self._locked)
                self._locked = None

    def _close_appending(self) -> None:
        if self._appending is not None:
            os.close(self._appending)
            self._appending = None

    def _close_reading(self) -> None:
        if self._reading is not None:
            os.close(self._reading[1])
            self._reading = None

    def _path(self, number: int) -> Path:
        assert self._folder is not None  # noqa: S101
        return self._folder / f"{number:010d}.log"


def _whole_lines(path: Path) -> int:
    """Bytes up to and with the last newline."""
    return path.read_bytes().rfind(b"\n") + 1


def _checked(lines: list[bytes], start: Position) -> tuple[list[bytes], list[Position], int]:
    """Records whose sum is right, where each ends, and how many were not: a power cut leaves zeros, a hand an edit.
    What is damaged is skipped with the next good one."""
    records: list[bytes] = []
    ends: list[Position] = []
    offset, damaged = start.offset, 0
    for line in lines:
        offset += len(line) + 1
        record = line[_HEAD:]
        if line[:_HEAD] != b"%08x " % zlib.crc32(record):
            damaged += 1
            continue
        records.append(record)
        ends.append(Position(segment=start.segment, offset=offset))
    return records, ends, damaged
