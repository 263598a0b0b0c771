"""Files that are replaced whole, with owner, mode and SELinux context as they were; and servers that are told to read them."""

import asyncio
import os
import re
import signal
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from certwatch.plugins.deployer import DeployerConfig, DeployFailed
from certwatch.remediation.commands import CommandFailed, Shared
from certwatch.remediation.gate import Gate

#: Kept beside a file while a roll-out is under way.
FORMER = ".certwatch-former"
MAX_BYTES = 1 << 20
_SELINUX = "security.selinux"


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class FilesOfServer(DeployerConfig):
    """Which files, and how what reads them takes them up."""

    #: Files that may be written, absolute; "*" within a folder, "**" over folders.
    paths: Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]
    #: Command that has it taken up, word by word, without a shell.
    reload: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    #: Instead of a command: a signal to the process of this file.
    pid_file: str | None = None
    signal: str = "HUP"
    #: Or a systemd unit, by `systemctl reload`.
    unit: str | None = None
    reload_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0


class TakingUp:
    """What the config says of that. Belongs to the event loop."""

    def __init__(self, config: FilesOfServer) -> None:
        self._config = config
        words = ["systemctl", "reload", config.unit] if config.unit else config.reload
        #: Nobody writes while it is open for taking up.
        self.gate = Gate()
        self._reload = Shared(words, config.reload_seconds, self.gate) if words else None

    async def run(self) -> None:
        """Raises DeployFailed."""
        if self._config.pid_file is not None:
            async with self.gate.taking_up():
                await asyncio.to_thread(self._signal, self._config.pid_file)
        if self._reload is not None:
            try:
                await self._reload.run()
            except CommandFailed as error:
                raise DeployFailed("reload", str(error)) from error

    def _signal(self, pid_file: str) -> None:
        try:
            number = getattr(signal, f"SIG{self._config.signal.removeprefix('SIG')}")
            os.kill(int(Path(pid_file).read_text()), number)
        except (OSError, ValueError, AttributeError) as error:
            raise DeployFailed("reload", f"{pid_file}: {self._config.signal}: {error}") from error


def pattern(text: str) -> re.Pattern[str]:
    """ "**" over folders, "*" and "?" within one."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", text)
    said = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(said.get(each, re.escape(each)) for each in parts))


def kept_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}{FORMER}")


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


def read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DeployFailed("other", f"{path}: larger than {MAX_BYTES} bytes")
    return data


@dataclass(frozen=True, slots=True)
class Replaced:
    path: Path
    data: bytes
    #: Owner, group, mode and context are its.
    like: Path
    #: A key's file is never readable for everybody.
    secret: bool


def replace_files(*files: Replaced) -> None:
    """Each whole or not at all, on disk when it returns. Renamed one right after the other, so that who reads a pair
    hardly ever sees one of each."""
    fresh: list[tuple[Path, Path]] = []
    try:
        for each in files:
            fresh.append((_prepared(each), each.path))  # noqa: PERF401 - those before a failure are removed
        for made, path in fresh:
            os.replace(made, path)
    except BaseException:
        for made, _ in fresh:
            made.unlink(missing_ok=True)
        raise
    for folder in {path.parent for _, path in fresh}:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _prepared(each: Replaced) -> Path:
    """Beside it, to be renamed."""
    held = each.like.stat()
    mode = stat.S_IMODE(held.st_mode)
    if each.secret:
        mode &= 0o770
    if each.path.name.endswith(FORMER):
        mode = 0o600
    fresh = each.path.with_name(f".{each.path.name}.certwatch-new")
    fresh.unlink(missing_ok=True)
    number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(each.data)
            file.flush()
            if os.geteuid() == 0:
                os.fchown(file.fileno(), held.st_uid, held.st_gid)
            with suppress(OSError):
                os.setxattr(file.fileno(), _SELINUX, os.getxattr(each.like, _SELINUX))
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    return fresh
