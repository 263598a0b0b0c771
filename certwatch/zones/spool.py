"""What a worker has to hand in and could not yet, on disk: in order, bounded, there again after a crash."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import msgspec

from certwatch.telemetry.logs import get_logger

log = get_logger(__name__)

#: Bytes of the SHA-256 that stands before each message.
_DIGEST = 32

_FILE = re.compile(r"[0-9]{12}\.message")
#: What was being written when the process ended.
_HALF = re.compile(r"[0-9]{12}\.new")


class SpoolError(Exception):
    """It cannot be written. The message says which folder, why, and what to do."""


class Message(msgspec.Struct, frozen=True):
    kind: Literal["batch", "end", "release"]
    shard: int
    claim: int
    #: Of a batch.
    number: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A message on disk."""

    path: Path
    message: Message


class Spool:
    """One process has it. Blocking; one thread at a time."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        """Raises SpoolError."""
        self._folder = folder
        self._most = most_bytes
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                os.lockf(self._lock, os.F_TLOCK, 0)
            except OSError as error:
                raise SpoolError(
                    f"spool {folder}: another worker has it. Give each a folder of its own (--spool)"
                ) from error
            found = sorted(each for each in folder.iterdir() if _FILE.fullmatch(each.name))
            for half in folder.iterdir():
                if _HALF.fullmatch(half.name):
                    half.unlink()
            #: Bytes of each, in order.
            self._waiting = {each: each.stat().st_size for each in found}
        except OSError as error:
            raise _failed(folder, error) from error
        self.bytes = sum(self._waiting.values())
        self._last = int(found[-1].name[:12]) if found else 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        return self.bytes >= self._most

    def put(self, message: Message) -> None:
        """On disk when this returns. Raises SpoolError."""
        data = msgspec.msgpack.encode(message)
        path = self._folder / f"{self._last + 1:012d}.message"
        fresh = path.with_suffix(".new")
        try:
            with fresh.open("wb") as file:
                file.write(sha256(data).digest() + data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise _failed(self._folder, error) from error
        self._last += 1
        self._waiting[path] = _DIGEST + len(data)
        self.bytes += _DIGEST + len(data)

    def first(self) -> Kept | None:
        """The oldest. What cannot be read any more is left out, and told."""
        while self._waiting:
            path = next(iter(self._waiting))
            try:
                return Kept(path=path, message=_read(path))
            except (OSError, msgspec.MsgspecError) as error:
                log.error("spool_damaged", path=str(path), error=str(error))
                self.drop(path)
        return None

    def drop(self, path: Path) -> None:
        """It was taken, or is taken by nobody any more."""
        # What somebody else removed makes room as well.
        self.bytes -= self._waiting.pop(path, 0)
        try:
            path.unlink()
        except OSError as error:
            log.warning("spool_not_removed", path=str(path), error=str(error))

    def all(self) -> Iterator[Message]:
        """Every message that can be read, in order."""
        for path in list(self._waiting):
            try:
                yield _read(path)
            except (OSError, msgspec.MsgspecError):
                continue

    def note(self, worker: int) -> None:
        """As whom it is enrolled. Raises SpoolError."""
        try:
            (self._folder / "worker").write_text(str(worker))
        except OSError as error:
            raise _failed(self._folder, error) from error

    def noted(self) -> int | None:
        """As whom it was before it ended. None: it ended in order, or never began."""
        try:
            return int((self._folder / "worker").read_text())
        except (OSError, ValueError):
            return None

    def forget(self) -> None:
        """It is enrolled no more."""
        try:
            (self._folder / "worker").unlink(missing_ok=True)
        except OSError as error:
            log.warning("spool_not_removed", path=str(self._folder / "worker"), error=str(error))

    def close(self) -> None:
        os.close(self._lock)


def _read(path: Path) -> Message:
    """Raises OSError, msgspec.MsgspecError: it is not what was written."""
    kept = path.read_bytes()
    digest, data = kept[:_DIGEST], kept[_DIGEST:]
    # One flipped bit in a certificate makes another one, which would be recorded as seen.
    if sha256(data).digest() != digest:
        raise msgspec.DecodeError("its checksum does not hold")
    return msgspec.msgpack.decode(data, type=Message)


def _failed(folder: Path, error: OSError) -> SpoolError:
    return SpoolError(
        f"spool {folder}: cannot be written: {error.strerror}. Name a folder that this worker may write to, with room (--spool)"
    )
