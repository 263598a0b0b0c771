"""Certificate files: globs, folders and plain paths; PEM, DER, keystores and what else holds certificates."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Annotated, Any, ClassVar, cast

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from certwatch.model.location import LocationURI, file_location, parse_file_location, url_location
from certwatch.model.observation import ErrorKind, Gone, Incomplete, LookError, Observation
from certwatch.plugins.collector import CollectorConfig, CollectorContext
from certwatch.telemetry.logs import get_logger
from collectors.file.container import may_have_entries
from collectors.file.contents import Contents
from collectors.file.follow import affected, changed, watched
from collectors.file.memory import Memory, stamp
from collectors.file.passphrases import Passphrase, Secrets
from collectors.file.read import Limits, contents
from collectors.file.urls import URLs, URLSource, as_source
from collectors.file.walk import Found, Unwalkable, absolute, expression, walk

log = get_logger(__name__)

#: Where the kernel cannot tell of changes, it is asked again after so long.
WATCH_AGAIN_SECONDS = 3600.0
#: Files looked at before the event loop hears of them, by number and by seconds.
BATCH_FILES = 500
BATCH_SECONDS = 0.2


class FileConfig(CollectorConfig):
    #: Globs (`**` is any number of folders), folders and files. `~` is the home folder.
    paths: tuple[str, ...] = Field(default=(), min_length=1)
    #: Files that stand at URLs.
    urls: tuple[Annotated[URLSource, BeforeValidator(as_source)], ...] = Field(default=(), min_length=1)
    #: Globs of what is left out, with everything below it.
    exclude: tuple[str, ...] = ()
    #: Larger files are not read.
    max_bytes: int = Field(default=4 << 20, gt=0)
    #: Larger files are not read that begin with a revocation list.
    max_crl_bytes: int = Field(default=128 << 20, gt=0)
    #: Tried on every keystore and every encrypted key, after those of `passphrases` that are for its path.
    passphrase: SecretStr | None = None
    passphrases: tuple[Passphrase, ...] = ()
    #: Look at what changes as soon as the kernel tells of it, beside the schedule.
    watch: bool = True

    @model_validator(mode="after")
    def _looks_at_something(self) -> "FileConfig":
        if not self.paths and not self.urls:
            raise ValueError("name paths or urls")
        return self


class FileCollector:
    """Locations are paths as they were found, links not resolved: a live/…/fullchain.pem stays one place through all
    its renewals. Reading happens in threads, a batch at a time."""

    Config: ClassVar[type[CollectorConfig]] = FileConfig
    location_kinds: ClassVar[frozenset[str]] = frozenset({"file", "url", "http", "https"})

    def __init__(self, name: str, config: CollectorConfig, context: CollectorContext) -> None:
        assert isinstance(config, FileConfig)  # noqa: S101
        self._config = config
        self._context = context
        # A scan and what follows changes run beside one another, each in threads: a batch at a time.
        self._turn = threading.Lock()
        #: Files that the last scan looked at, and what has come since.
        self._known: set[str] = set()
        limits = Limits(bytes=config.max_bytes, crl_bytes=config.max_crl_bytes)
        self._urls = URLs(config.urls, limits, context.clock)
        self._memory = Memory()
        self._looked_at: set[str] = set()
        #: Of each container the entries that it showed last.
        self._entries: dict[str, tuple[str, ...]] = {}

    def leads_to(self, location: LocationURI) -> bool | None:
        """By the patterns: what begins in the home folder, or where the program runs, may be anywhere."""
        config = self._config
        if location.startswith("file:"):
            try:
                path = parse_file_location(location)
            except ValueError:
                return False
            if ".." in path.split("/"):
                return False
            patterns = [each for each in config.paths if each.startswith("/")]
            if any(expression(each).fullmatch(path) for each in patterns):
                return True
            return False if len(patterns) == len(config.paths) else None
        return location.partition("#")[0] in {url_location(each.url) for each in config.urls}

    async def collect(self) -> AsyncIterator[Observation | Incomplete]:
        looks = self._looks()
        done = 0
        while True:
            batch, ended = await asyncio.to_thread(_take, looks, self._turn)
            for each in batch:
                yield each
            done += len(batch)
            self._context.progress(done, None)
            if ended:
                break
        if self._config.urls:
            secrets = await asyncio.to_thread(Secrets.of, self._config.passphrase, self._config.passphrases)
            async with aclosing(cast("Any", self._urls.look(secrets))) as fetched:
                async for each in fetched:
                    yield each
        with self._turn:
            self._memory.keep_only(self._looked_at)
            self._known = set(self._looked_at)
        for path in [path for path in self._entries if path not in self._looked_at]:
            del self._entries[path]

    async def follow(self) -> AsyncIterator[Observation | Gone]:
        """What changes, comes and goes on disk."""
        config = self._config
        if not config.watch or not config.paths:
            await asyncio.Event().wait()
        while True:
            where = await asyncio.to_thread(watched, config.paths)
            stream = changed(where)
            try:
                async with aclosing(cast("Any", stream)):
                    async for paths in stream:
                        for each in await asyncio.to_thread(self._changed, paths):
                            yield each
            except OSError as error:
                # Too many folders for the limit of watches, usually. The schedule goes on.
                log.warning("files_not_watched", error=str(error)[:300])
                await asyncio.sleep(WATCH_AGAIN_SECONDS)

    def _changed(self, paths: frozenset[str]) -> list[Observation | Gone]:
        """Blocking."""
        config, said = self._config, list[Observation | Gone]()
        secrets = Secrets.of(config.passphrase, config.passphrases)
        with self._turn:
            self._memory.begin()
            found, folders = affected(paths, config.paths, config.exclude)
            for file, pattern in found:
                if file.path in self._known and self._memory.recall(file.path, named=file.named) is not None:
                    continue
                self._known.add(file.path)
                looks = self._look(file, pattern, secrets)
                said += [each for each in looks if isinstance(each, Observation)]
            present = {file.path for file, _ in found}
            # A whole folder may be gone with what was below it.
            lost = tuple(f"{each}/" for each in paths if not os.path.lexists(each))
            for path in [
                each for each in self._known if os.path.dirname(each) in folders or each.startswith(lost)
            ]:
                if path in present or os.path.lexists(path):
                    continue
                self._known.discard(path)
                self._memory.forget(path)
                entries = ("", *self._entries.pop(path, ()))
                now = self._context.clock()
                said += [Gone(location=file_location(path, entry), observed_at=now) for entry in entries]
        return said

    def _looks(self) -> Iterator[Observation | Incomplete | None]:
        """None: a file that holds nothing of ours; it counts towards the batch."""
        self._looked_at = set()
        self._memory.begin()
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
        held = self._memory.recall(found.path, named=found.named)
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

    def _read(self, found: Found, passphrases: tuple[str, ...]) -> tuple[Contents, ...]:
        before = stamp(found.path)
        limits = Limits(bytes=self._config.max_bytes, crl_bytes=self._config.max_crl_bytes)
        held = contents(found.path, limits, named=found.named, passphrases=passphrases)
        self._memory.keep(found.path, before, held, named=found.named)
        return held


def _take(
    looks: Iterator[Observation | Incomplete | None], turn: threading.Lock
) -> tuple[list[Observation | Incomplete], bool]:
    """Some looks, and whether they were the last."""
    batch: list[Observation | Incomplete] = []
    until = time.monotonic() + BATCH_SECONDS
    with turn:
        for count, look in enumerate(looks, 1):
            if look is not None:
                batch.append(look)
            if count >= BATCH_FILES or time.monotonic() > until:
                return batch, False
    return batch, True


def _unwalkable(found: Unwalkable) -> LookError:
    kind: ErrorKind = "permission" if isinstance(found.reason, PermissionError) else "other"
    message = f"{found.path}: cannot be listed: {found.reason.strerror}. Grant access, or exclude it"
    return LookError(kind=kind, message=message)
