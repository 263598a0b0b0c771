"""Certificate files: globs, folders and plain paths; PEM, DER, keystores and what else holds certificates."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field, SecretStr

from certwatch.model.location import file_location
from certwatch.model.observation import ErrorKind, Incomplete, LookError, Observation
from certwatch.plugins.collector import CollectorConfig, CollectorContext
from collectors.file.container import may_have_entries
from collectors.file.contents import Contents
from collectors.file.passphrases import Passphrase, Secrets
from collectors.file.read import Limits, contents
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
    #: Larger files are not read that begin with a revocation list.
    max_crl_bytes: int = Field(default=128 << 20, gt=0)
    #: Tried on every keystore and every encrypted key, after those of `passphrases` that are for its path.
    passphrase: SecretStr | None = None
    passphrases: tuple[Passphrase, ...] = ()


Stamp = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Remembered:
    stamps: tuple[Stamp | None, ...]
    contents: tuple[Contents, ...]
    #: The other files whose stamps follow the file's own.
    beside: tuple[str, ...]
    named: bool

    @property
    def size(self) -> int:
        return 400 + sum(400 + sum(map(len, each.chain)) for each in self.contents)


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
        self._looked_at: set[str] = set()
        #: Of each container the entries that it showed last.
        self._entries: dict[str, tuple[str, ...]] = {}

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        looks = self._looks()
        done = 0
        while True:
            batch, ended = await asyncio.to_thread(_take, looks)
            for each in batch:
                yield each
            done += len(batch)
            self._context.progress(done, None)
            if ended:
                break
        for path in [path for path in self._remembered if path not in self._looked_at]:
            self._forget(path)
        for path in [path for path in self._entries if path not in self._looked_at]:
            del self._entries[path]

    def _looks(self) -> Iterator[Observation | Incomplete | None]:
        """None: a file that holds nothing of ours; it counts towards the batch."""
        self._looked_at = set()
        # Only here, in the thread: to ask for the home or the working folder is to ask the file system.
        secrets = Secrets.of(self._config.passphrase, self._config.passphrases)
        for pattern in self._config.paths:
            for found in walk(absolute(pattern), self._config.exclude):
                if isinstance(found, Unwalkable):
                    yield Incomplete(scope=pattern, error=_unwalkable(found))
                elif found.path not in self._looked_at:
                    self._looked_at.add(found.path)
                    yield from self._look(found, pattern, secrets)

    def _look(
        self, found: Found, pattern: str, secrets: Secrets
    ) -> Iterator[Observation | Incomplete | None]:
        passphrases = secrets.for_path(found.path)
        held = self._recall(found)
        if held is None:
            held = self._read(found, passphrases)
        if not held:
            self._entries.pop(found.path, None)
            yield None
            return
        now = self._context.clock()
        for each in held:
            yield Observation(
                location=file_location(found.path, each.entry),
                observed_at=now,
                chain=each.chain,
                facts=each.facts,
                error=each.error,
                scope=pattern,
            )
        yield from self._unseen(found, pattern, held, given=bool(passphrases))

    def _unseen(
        self, found: Found, pattern: str, held: tuple[Contents, ...], *, given: bool
    ) -> Iterator[Observation | Incomplete]:
        """Of a container that cannot be read (any more), its entries are not gone: they are told with its error. Those
        of before the start are not known: then nothing of the pattern may be retired. A container that no
        passphrase was given for never showed any."""
        entries = tuple(each.entry for each in held if each.entry)
        error = next((each.error for each in held if not each.entry and each.error is not None), None)
        known = self._entries.get(found.path)
        if error is None:
            if entries or known is not None:
                self._entries[found.path] = entries
            return
        if known is None:
            # A passphrase that fits no digest hides nothing where entries were read.
            hidden = error.kind != "passphrase" or (given and not entries)
            if hidden and may_have_entries(found.path, held):
                yield Incomplete(scope=pattern, error=error)
            return
        for entry in known:
            if entry not in entries:
                yield Observation(
                    location=file_location(found.path, entry),
                    observed_at=self._context.clock(),
                    error=error,
                    scope=pattern,
                )
        self._entries[found.path] = tuple(dict.fromkeys([*known, *entries]))

    def _recall(self, found: Found) -> tuple[Contents, ...] | None:
        known = self._remembered.get(found.path)
        if known is None or known.named != found.named:
            return None
        paths = (found.path, *known.beside)
        for path, stamp in zip(paths, known.stamps, strict=True):
            if _stamp(path) != stamp:
                return None
        return known.contents

    def _read(self, found: Found, passphrases: tuple[str, ...]) -> tuple[Contents, ...]:
        self._forget(found.path)
        before = _stamp(found.path)
        limits = Limits(bytes=self._config.max_bytes, crl_bytes=self._config.max_crl_bytes)
        held = contents(found.path, limits, named=found.named, passphrases=passphrases)
        beside = tuple(dict.fromkeys(path for each in held for path in each.beside))
        known = _Remembered((before, *map(_stamp, beside)), held, beside, found.named)
        # Errors are looked at anew each time, but for those that cost work; so is what changed while it was read.
        if all(each.error is None or each.error.kind == "passphrase" for each in held) and held:
            if before is not None and before == _stamp(found.path):
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
