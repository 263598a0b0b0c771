"""What files held when they were last read: an unchanged one costs one stat."""

import os
import time
from dataclasses import dataclass

from collectors.file.contents import Contents

#: Bytes of certificates kept from scan to scan. Beyond it, files are read.
REMEMBERED_BYTES = 128 << 20
#: A folder that changed so shortly before it was looked at may have changed again in the same tick of its clock.
_SETTLED_SECONDS = 2.0

Stamp = tuple[int, int, int, int, int]
#: Of a folder: what changes when a name comes or goes. None: it is not there.
FolderStamp = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class _Remembered:
    stamp: Stamp
    contents: tuple[Contents, ...]
    #: Other files that the contents depend on, with their stamps.
    beside: tuple[tuple[str, Stamp], ...]
    #: Such files that are not there, with their folders' stamps. "?": not to be relied upon.
    absent: tuple[tuple[str, "FolderStamp | str"], ...]
    named: bool

    @property
    def size(self) -> int:
        return 400 + sum(400 + sum(map(len, each.chain)) for each in self.contents)


class Memory:
    """Owned by one thread at a time. `begin` each scan."""

    def __init__(self) -> None:
        self._remembered: dict[str, _Remembered] = {}
        self._bytes = 0
        #: Of this scan: a folder is asked once.
        self._folders: dict[str, FolderStamp] = {}

    def begin(self) -> None:
        self._folders = {}

    def recall(self, path: str, *, named: bool) -> tuple[Contents, ...] | None:
        """None: never read, or changed since."""
        known = self._remembered.get(path)
        if known is None or known.named != named or stamp(path) != known.stamp:
            return None
        if any(stamp(each) != then for each, then in known.beside):
            return None
        for each, then in known.absent:
            # As long as its folder is as it was, nothing has come into it.
            if (then == "?" or self._folder(each) != then) and stamp(each) is not None:
                return None
        return known.contents

    def keep(self, path: str, before: Stamp | None, contents: tuple[Contents, ...], *, named: bool) -> None:
        """`before`: its stamp before it was read. Errors are not kept, so that they are looked at anew each time, but for
        those that cost work; nor is what changed while it was read."""
        self.forget(path)
        if not contents or not all(
            each.error is None or each.error.kind == "passphrase" for each in contents
        ):
            return
        if before is None or before != stamp(path):
            return
        stamps = {
            each: stamp(each) for each in dict.fromkeys(one for part in contents for one in part.beside)
        }
        known = _Remembered(
            stamp=before,
            contents=contents,
            beside=tuple((each, then) for each, then in stamps.items() if then is not None),
            absent=tuple((each, self._settled(each)) for each, then in stamps.items() if then is None),
            named=named,
        )
        if self._bytes + known.size <= REMEMBERED_BYTES:
            self._remembered[path] = known
            self._bytes += known.size

    def forget(self, path: str) -> None:
        known = self._remembered.pop(path, None)
        if known is not None:
            self._bytes -= known.size

    def keep_only(self, paths: set[str]) -> None:
        for path in [path for path in self._remembered if path not in paths]:
            self.forget(path)

    def _settled(self, path: str) -> "FolderStamp | str":
        found = _folder_stamp(os.path.dirname(path))
        if found is not None and found[2] / 1e9 > time.time() - _SETTLED_SECONDS:
            return "?"
        return found

    def _folder(self, path: str) -> FolderStamp:
        folder = os.path.dirname(path)
        if folder not in self._folders:
            self._folders[folder] = _folder_stamp(folder)
        return self._folders[folder]


def stamp(path: str) -> Stamp | None:
    """What changes when a file does. None: it is not there."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _folder_stamp(folder: str) -> FolderStamp:
    try:
        found = os.stat(folder)
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino, found.st_mtime_ns)
