"""Files that a server reads: which of them may be written, and when. Nobody writes while the server is told to take them up."""

import asyncio
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from certwatch.plugins.deployer import DeployerConfig, DeployFailed, Material, Target
from certwatch.remediation.commands import CommandFailed, Shared
from certwatch.remediation.deployers.path_patterns import pattern
from certwatch.remediation.gate import Gate

#: Of the largest process number (2^22).
PID_DIGITS = 7


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _signal_name(text: str) -> str:
    name = text.upper().removeprefix("SIG")
    if f"SIG{name}" not in signal.Signals.__members__:
        raise ValueError(f"{text[:40]!r} is no signal: HUP, USR1, USR2 …")
    return name


class FilesOfServer(DeployerConfig):
    """Which files, and how what reads them takes them up."""

    #: Files that may be written, absolute; "*" within a folder, "**" over folders.
    paths: Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]
    #: Command that has it taken up, word by word, without a shell.
    reload: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    #: Instead of a command: a signal to the process of this file.
    pid_file: str | None = None
    signal: Annotated[str, AfterValidator(_signal_name)] = "HUP"
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
        """Raises DeployFailed."""
        try:
            text = Path(pid_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DeployFailed("reload", f"{pid_file}: cannot be read: {error}") from error
        # 0, -1 and other negative numbers are groups, or every process of the host (kill(2)); 1 is init.
        if not text.isascii() or not text.isdigit() or len(text) > PID_DIGITS or int(text) <= 1:
            raise DeployFailed("reload", f"{pid_file}: names no process that may be signalled: {text[:40]!r}")
        try:
            os.kill(int(text), signal.Signals[f"SIG{self._config.signal}"])
        except OSError as error:
            raise DeployFailed("reload", f"{pid_file}: process {text}: {error.strerror}") from error


class FilesOfServerDeployer(ABC):
    """What a deployer of such files promises (`certwatch.plugins.deployer`), whatever is in them: its kind says how one is
    written, in functions that block and raise DeployFailed."""

    #: What a place must be, in words.
    place: ClassVar[str]

    def __init__(self, config: FilesOfServer) -> None:
        self._patterns = [pattern(each) for each in config.paths]
        self._taking_up = TakingUp(config)

    def takes(self, target: Target) -> bool:
        path = self._path_of(target)
        return path is not None and any(each.fullmatch(str(path)) for each in self._patterns)

    async def deploy(self, target: Target, material: Material) -> None:
        async with self._taking_up.gate.writing():
            await asyncio.to_thread(self._deploy, target, material)

    async def present(self, target: Target) -> tuple[bytes, ...]:
        return await asyncio.to_thread(self._present, target)

    async def activate(self, targets: Sequence[Target]) -> None:
        await self._taking_up.run()

    async def undo(self, target: Target) -> None:
        async with self._taking_up.gate.writing():
            await asyncio.to_thread(self._undo, target)

    async def forget(self, target: Target) -> None:
        await asyncio.to_thread(self._forget, target)

    def _path(self, target: Target) -> Path:
        """Raises DeployFailed."""
        path = self._path_of(target)
        if path is None:
            raise DeployFailed("other", f"is not {self.place}")
        return path

    @abstractmethod
    def _path_of(self, target: Target) -> Path | None:
        """None: it is no such place."""

    @abstractmethod
    def _deploy(self, target: Target, material: Material) -> None: ...

    @abstractmethod
    def _present(self, target: Target) -> tuple[bytes, ...]: ...

    @abstractmethod
    def _undo(self, target: Target) -> None: ...

    @abstractmethod
    def _forget(self, target: Target) -> None: ...
