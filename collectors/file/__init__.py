"""Certificate files: globs, folders and plain paths, PEM and DER."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from certwatch.model.location import file_location
from certwatch.model.observation import ErrorKind, Incomplete, LookError, Observation
from certwatch.plugins.collector import CollectorConfig, CollectorContext
from collectors.file.read import Contents, contents
from collectors.file.walk import Found, Unwalkable, absolute, walk

#: Files looked at before the event loop hears of them, by number and by seconds.
BATCH_FILES = 500
BATCH_SECONDS = 0.2
#: Bytes of certificates kept from scan to scan, so that an unchanged file costs one stat. Beyond it, files are read.
REMEMBERED_BYTES = 128 << 20


class FileConfig(CollectorConfig):
    #: Globs (`**` is any number of folders), folders and files. `~` is the home folder.
    paths: tuple[str, ...] = Field(min_length=1)
    #: Globs of what is left out, with everything below it.
    exclude: tuple[str, ...] = ()
    #: Larger files are not read.
    max_bytes: int = Field(default=4 << 20, gt=0)


Stamp = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Remembered:
    stamps: tuple[Stamp | None, ...]
    contents: Contents
    named: bool

    @property
    def size(self) -> int:
        return 400 + sum(map(len, self.contents.chain))


class FileCollector:
    """Locations are paths as they were found, links not resolved: a live/…/fullchain.pem stays one place through all
    its renewals. Reading happens in threads, a batch at a time."""

    Config: ClassVar[type[CollectorConfig]] = FileConfig

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        assert isinstance(config, FileConfig)  # noqa: S101
        self._config = config
        self._context = context
        # Owned by the running scan; two never run at once.
        self._remembered: dict[str, _Remembered] = {}
        self._remembered_bytes = 0

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        looks = self._looks()
        seen: set[str] = set()
        done = 0
        while True:
            batch, ended = await asyncio.to_thread(_take, looks)
            for each in batch:
                if isinstance(each, Observation):
                    seen.add(each.location)
                yield each
            done += len(batch)
            self._context.progress(done, None)
            if ended:
                break
        for path in [path for path in self._remembered if file_location(path) not in seen]:
            self._forget(path)

    def _looks(self) -> Iterator[Observation | Incomplete | None]:
        """None: a file that holds nothing of ours; it counts towards the batch."""
        given: set[str] = set()
        for pattern in self._config.paths:
            # Only here, in the thread: to ask for the home or the working folder is to ask the file system.
            for found in walk(absolute(pattern), self._config.exclude):
                if isinstance(found, Unwalkable):
                    yield Incomplete(scope=pattern, error=_unwalkable(found))
                elif found.path not in given:
                    given.add(found.path)
                    yield self._look(found, pattern)

    def _look(self, found: Found, pattern: str) -> Observation | None:
        held = self._recall(found) or self._read(found)
        if not held:
            return None
        return Observation(
            location=file_location(found.path),
            observed_at=self._context.clock(),
            chain=held.chain,
            facts=held.facts,
            error=held.error,
            scope=pattern,
        )

    def _recall(self, found: Found) -> Contents | None:
        known = self._remembered.get(found.path)
        if known is None or known.named != found.named:
            return None
        paths = (found.path, *known.contents.beside)
        for path, stamp in zip(paths, known.stamps, strict=True):
            if _stamp(path) != stamp:
                return None
        return known.contents

    def _read(self, found: Found) -> Contents:
        self._forget(found.path)
        before = _stamp(found.path)
        held = contents(found.path, self._config.max_bytes, named=found.named)
        known = _Remembered((before, *map(_stamp, held.beside)), held, found.named)
        # Errors are looked at anew each time; so is what changed while it was read.
        if held.error is None and held.chain and before is not None and before == _stamp(found.path):
            if self._remembered_bytes + known.size <= REMEMBERED_BYTES:
                self._remembered[found.path] = known
                self._remembered_bytes += known.size
        return held

    def _forget(self, path: str) -> None:
        known = self._remembered.pop(path, None)
        if known is not None:
            self._remembered_bytes -= known.size


def _take(looks: Iterator[Observation | Incomplete | None]) -> tuple[list[Observation | Incomplete], bool]:
    """Some looks, and whether they were the last."""
    batch: list[Observation | Incomplete] = []
    until = time.monotonic() + BATCH_SECONDS
    for count, look in enumerate(looks, 1):
        if look is not None:
            batch.append(look)
        if count >= BATCH_FILES or time.monotonic() > until:
            return batch, False
    return batch, True


def _stamp(path: str) -> Stamp | None:
    """What changes when a file does. None: it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _unwalkable(found: Unwalkable) -> LookError:
    kind: ErrorKind = "permission" if isinstance(found.reason, PermissionError) else "other"
    message = f"{found.path}: cannot be listed: {found.reason.strerror}. Grant access, or exclude it"
    return LookError(kind=kind, message=message)
