"""What changes in files between two scans, as the kernel tells it: which are to be looked at, which are gone."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certwatch.doors.changes import changes
from collectors.file.walk import Found, absolute, expression, is_glob, walk

QUIET_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Watched:
    """Folders to watch, so that nothing of the patterns changes unseen."""

    #: With everything below them.
    deep: tuple[Path, ...]
    #: Themselves alone.
    flat: tuple[Path, ...]


def watched(patterns: Sequence[str]) -> Watched:
    """Blocking. The root of the file system is not watched: a pattern that begins there waits for the next scan."""
    deep: dict[Path, None] = {}
    flat: dict[Path, None] = {}
    for each in map(absolute, patterns):
        if is_glob(each):
            fixed = each[: next(at for at, part in enumerate(each) if part in "*?[")]
            deep[Path(os.path.dirname(fixed))] = None
        elif os.path.isdir(each):
            deep[Path(each)] = None
        else:
            flat[Path(os.path.dirname(each))] = None
    root = Path("/")
    return Watched(
        deep=tuple(each for each in deep if each != root),
        flat=tuple(each for each in flat if each not in deep),
    )


async def changed(where: Watched) -> AsyncIterator[frozenset[str]]:
    """Paths, together where they change together. Ends after a quiet hour: a folder that has come since is then watched
    as well. Raises OSError where the kernel cannot tell."""
    told: asyncio.Queue[frozenset[str] | OSError] = asyncio.Queue(100)

    async def listen(folders: Sequence[Path], *, recursive: bool) -> None:
        stream: Any = changes(folders, recursive=recursive)
        try:
            async with aclosing(stream):
                async for each in stream:
                    await told.put(each)
        except OSError as error:
            await told.put(error)

    tasks = [
        asyncio.create_task(listen(folders, recursive=recursive))
        for folders, recursive in ((where.deep, True), (where.flat, False))
        if folders
    ]
    try:
        while True:
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    said = await told.get()
            except TimeoutError:
                return
            if isinstance(said, OSError):
                raise said
            yield said
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


def affected(
    paths: Iterable[str], patterns: Sequence[str], exclude: Sequence[str]
) -> tuple[list[tuple[Found, str]], frozenset[str]]:
    """Files that may have changed, each with the pattern that names it, and the folders that they were looked for in.
    Blocking. A change of one name is taken for one of its whole folder: what Kubernetes swaps beneath its links, and a key
    beside a certificate, are told by another name."""
    folders: dict[str, bool] = {}
    for path in paths:
        folders.setdefault(os.path.dirname(path), False)
        if os.path.isdir(path) and not os.path.basename(path).startswith(".."):
            # New, or renamed: nobody told of what is in it.
            folders[path] = True
    named = {each: (absolute(each), expression(each)) for each in patterns}
    found: dict[str, tuple[Found, str]] = {}
    for folder, deep in folders.items():
        for each in walk(f"{_literal(folder)}/{'**/*' if deep else '*'}", tuple(exclude)):
            if not isinstance(each, Found) or each.path in found:
                continue
            for pattern, (whole, match) in named.items():
                if each.path == whole or match.fullmatch(each.path):
                    found[each.path] = (Found(path=each.path, named=each.path == whole), pattern)
                    break
    return list(found.values()), frozenset(folders)


def _literal(folder: str) -> str:
    """A folder's name as part of a pattern."""
    return "".join(f"[{each}]" if each in "*?[" else each for each in folder)
