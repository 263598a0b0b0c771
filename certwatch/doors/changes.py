"""What changes on disk, as the kernel tells it (inotify, by watchfiles)."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from watchfiles import awatch

#: What changes within so many milliseconds is told together.
QUIET_MS = 50
MOST_MS = 400


async def changes(folders: Iterable[Path], *, recursive: bool) -> AsyncIterator[frozenset[str]]:
    """Paths that came, changed or went, below folders that are there; together where they happen together.

    Ends when it cannot be told any more; raises OSError where it cannot begin (the limit of watches, a folder that is
    gone). Closing it releases everything.
    """
    watched = [each for each in dict.fromkeys(folders) if each.is_dir()]
    if not watched:
        return
    try:
        async for found in awatch(
            *watched,
            watch_filter=None,
            debounce=MOST_MS,
            step=QUIET_MS,
            recursive=recursive,
            ignore_permission_denied=True,
        ):
            yield frozenset(path for _, path in found)
    except RuntimeError as error:
        # So watchfiles says what the system said.
        raise OSError(str(error)) from error
