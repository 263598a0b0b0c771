"""Patterns to paths: globs with `**`, folders, plain files. Follows symbolic links, survives their loops."""

import errno
import fnmatch
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

#: Nobody keeps certificates deeper; whoever nests further would exhaust the stack.
MAX_DEPTH = 100

_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    path: str
    #: The path itself was named, not found by a glob or in a folder: that it holds no certificate is then an error.
    named: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwalkable:
    """A folder that could not be listed: what is in it is not known."""

    path: str
    reason: OSError


def is_glob(pattern: str) -> bool:
    return _MAGIC.search(pattern) is not None


def absolute(pattern: str) -> str:
    return os.path.normpath(os.path.join(os.getcwd(), os.path.expanduser(pattern)))


def walk(pattern: str, exclude: tuple[str, ...] = ()) -> Iterator[Found | Unwalkable]:
    """Every file that an absolute pattern names, each once, in order of name. Blocking.

    `*` and `?` stay within one name, `**` is any number of folders. A plain folder is everything below it.
    """
    excluded = [expression(each) for each in exclude]
    if is_glob(pattern):
        found = _expand("/", tuple(part for part in pattern.split("/") if part), ())
    elif os.path.isdir(pattern):
        found = _expand(pattern, ("**", "*"), ())
    else:
        yield Found(path=pattern, named=True)
        return
    seen: set[str] = set()
    for each in found:
        if isinstance(each, Unwalkable):
            yield each
        elif each not in seen and not any(expression.fullmatch(each) for expression in excluded):
            seen.add(each)
            yield Found(path=each, named=False)


def expression(pattern: str) -> re.Pattern[str]:
    """A pattern excludes what it matches and everything below it."""
    parts = (
        r"(?:/[^/]+)*" if part == "**" else "/" + fnmatch.translate(part)[4:-3].replace(".*", "[^/]*")
        for part in absolute(pattern).split("/")[1:]
    )
    return re.compile("".join(parts) + r"(?:/.*)?", re.DOTALL)


def _expand(
    folder: str, parts: tuple[str, ...], above: tuple[tuple[int, int], ...]
) -> Iterator[str | Unwalkable]:
    """`above`: device and inode of each folder on the way here, so that a loop of links ends."""
    head, rest = parts[0], parts[1:]
    if not is_glob(head):
        path = os.path.join(folder, head)
        if not rest:
            if os.path.lexists(path):
                yield from _files(path, above)
        elif os.path.isdir(path):
            yield from _expand(path, rest, above)
        return
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in above:
            return
        if len(above) >= MAX_DEPTH:
            raise OSError(errno.ENAMETOOLONG, f"more than {MAX_DEPTH} folders deep")
        above = (*above, (status.st_dev, status.st_ino))
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        yield Unwalkable(path=folder, reason=error)
        return
    if head == "**":
        if rest:
            yield from _expand(folder, rest, above[:-1])
        for entry in entries:
            if _is_folder(entry):
                yield from _expand(entry.path, parts, above)
            elif not rest:
                yield entry.path
        return
    for entry in entries:
        if entry.name.startswith("..") or not fnmatch.fnmatchcase(entry.name, head):
            continue
        if not _is_folder(entry):
            if not rest:
                yield entry.path
        elif rest:
            yield from _expand(entry.path, rest, above)


def _files(path: str, above: tuple[tuple[int, int], ...]) -> Iterator[str | Unwalkable]:
    if os.path.isdir(path):
        yield from _expand(path, ("**", "*"), above)
    else:
        yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # Names with two dots in front are the insides of Kubernetes' atomic swaps (..data, ..2026_11_23): the same
    # files are seen by the links beside them, whose names stay.
    if entry.name.startswith(".."):
        return False
    try:
        return entry.is_dir()
    except OSError:
        return False
