"""Files that are replaced whole, with owner, mode and SELinux context as they were."""

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from certwatch.plugins.deployer import DeployFailed

#: Kept beside a file while a roll-out is under way.
FORMER = ".certwatch-former"
MAX_BYTES = 1 << 20
#: As the kernel does.
MAX_LINKS = 40
SELINUX = "security.selinux"


def kept_beside(path: Path) -> Path:
    return path.with_name(kept_name(path.name))


def kept_name(name: str) -> str:
    return f".{name}{FORMER}"


class told:
    """The one line where the system's errors become ours."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, PermissionError):
            raise DeployFailed(
                "permission", f"{error.filename or self._path}: may not be written by this user"
            ) from error
        if isinstance(error, FileNotFoundError):
            raise DeployFailed("not-found", f"{error.filename or self._path}: is not there") from error
        if isinstance(error, OSError):
            raise DeployFailed("other", f"{error.filename or self._path}: {error.strerror}") from error


def resolved(path: Path) -> Path:
    """What is written is the file, not the symbolic link that leads to it. Links that somebody else could lead elsewhere
    are not followed. Raises DeployFailed, OSError."""
    real = Path(os.path.realpath(path))
    trusted = {0, os.geteuid()}
    with suppress(FileNotFoundError):
        trusted.add(real.stat().st_uid)
    rest, seen, links = list(path.parts[1:]), Path("/"), 0
    while rest:
        step = seen / rest.pop(0)
        try:
            found = step.lstat()
        except FileNotFoundError:
            return real  # whoever opens it says so
        if not stat.S_ISLNK(found.st_mode):
            seen = step
            continue
        if found.st_uid not in trusted:
            raise DeployFailed(
                "permission",
                f"{step}: is a symbolic link of another user (uid {found.st_uid}), who could lead it elsewhere: not followed",
            )
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        led = Path(os.path.normpath(seen / os.readlink(step)))
        rest, seen = [*led.parts[1:], *rest], Path("/")
    return real


def read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return _bounded(file, path)


def _bounded(file: IO[bytes], path: Path) -> bytes:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DeployFailed("other", f"{path}: larger than {MAX_BYTES} bytes")
    return data


class Held:
    """A file, by its folder, which is held open: who leads the path elsewhere meanwhile leads nobody astray. `with` it."""

    def __init__(self, path: Path) -> None:
        """`path`: resolved."""
        self.path = path
        self._folder = -1

    def __enter__(self) -> Self:
        self._folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)

    @property
    def _kept(self) -> str:
        return kept_name(self.path.name)

    @property
    def _fresh(self) -> str:
        return f".{self.path.name}.certwatch-new"

    def read(self) -> bytes:
        return self._read(self.path.name)

    def kept(self) -> bytes | None:
        """What was there before. None: nothing is kept."""
        try:
            return self._read(self._kept)
        except FileNotFoundError:
            return None

    def _read(self, name: str) -> bytes:
        number = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        with os.fdopen(number, "rb") as file:
            return _bounded(file, self.path.with_name(name))

    def keep(self) -> None:
        """On disk when it returns, for its owner alone."""
        self.prepare(self.read(), mode=0o600)
        self.rename(to_kept=True)
        self.sync()

    def forget(self) -> None:
        for name in (self._kept, self._fresh):
            self._remove(name)

    def discard(self) -> None:
        self._remove(self._fresh)

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._folder)

    def mode(self, *, secret: bool) -> int:
        """That it has; a key's file is never readable for everybody."""
        return stat.S_IMODE(self._stat().st_mode) & (0o770 if secret else 0o7777)

    def _stat(self) -> os.stat_result:
        """Of the file; where somebody has removed it, of what is kept of it."""
        try:
            return os.stat(self.path.name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return os.stat(self._kept, dir_fd=self._folder, follow_symlinks=False)

    def prepare(self, data: bytes, *, mode: int) -> None:
        """Beside it, with its owner, group and context: to be renamed."""
        held = self._stat()
        self.discard()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        number = os.open(self._fresh, flags, 0o600, dir_fd=self._folder)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(data)
                file.flush()
                self._like(file.fileno(), held, mode)
                os.fsync(file.fileno())
        except BaseException:
            self.discard()
            raise

    def _like(self, number: int, held: os.stat_result, mode: int) -> None:
        if os.geteuid() == 0:
            os.fchown(number, held.st_uid, held.st_gid)
        with suppress(OSError):
            like = os.open(self.path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
            try:
                os.setxattr(number, SELINUX, os.getxattr(like, SELINUX))
            finally:
                os.close(like)
        os.fchmod(number, mode)

    def rename(self, *, to_kept: bool = False) -> None:
        name = self._kept if to_kept else self.path.name
        os.rename(self._fresh, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def rename_kept(self, *, secret: bool) -> None:
        """What is kept becomes the file itself: that takes no room, where the disk is full."""
        held = self._stat()
        number = os.open(self._kept, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        try:
            self._like(number, held, stat.S_IMODE(held.st_mode) & (0o770 if secret else 0o7777))
        finally:
            os.close(number)
        os.rename(self._kept, self.path.name, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def sync(self) -> None:
        os.fsync(self._folder)


@dataclass(frozen=True, slots=True)
class Replaced:
    held: Held
    data: bytes
    #: A key's file is never readable for everybody.
    secret: bool


def replace_files(*files: Replaced) -> None:
    """Each whole or not at all, on disk when it returns. Renamed one right after the other, so that who reads a pair
    hardly ever sees one of each."""
    try:
        for each in files:
            each.held.prepare(each.data, mode=each.held.mode(secret=each.secret))
        for each in files:
            each.held.rename()
    except BaseException:
        for each in files:
            each.held.discard()
        raise
    for each in files:
        each.held.sync()


def put_back(*files: Held) -> None:
    """As they were kept, those that are kept; in this order. May be called again."""
    kept = [(each, data) for each in files if (data := each.kept()) is not None]
    try:
        replace_files(*(Replaced(each, data, b"PRIVATE KEY" in data) for each, data in kept))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        for each, data in kept:
            each.rename_kept(secret=b"PRIVATE KEY" in data)
            each.sync()
