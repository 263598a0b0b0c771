"""Certificate and key in files: put there by rename, with owner, mode and SELinux context as they were; then a reload."""

import asyncio
import os
import re
import signal
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives import serialization
from pydantic import BeforeValidator, Field

from certwatch.plugins.deployer import DeployerConfig, DeployerContext, DeployFailed, Material, Target
from certwatch.remediation.commands import CommandFailed, Shared
from certwatch.remediation.gate import Gate
from certwatch.x509.der import read
from certwatch.x509.pem import blocks

#: Kept beside a file while a roll-out is under way.
FORMER = ".certwatch-former"
MAX_BYTES = 1 << 20
_SELINUX = "security.selinux"


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class FilesConfig(DeployerConfig):
    #: Files that may be written, absolute; "*" within a folder, "**" over folders.
    paths: Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]
    #: Where the key is: "{folder}/{stem}.key". {name}: the whole name; {first}: up to its first dot. None: in the same
    #: file, or beside it under a usual name.
    key: str | None = None
    #: Command that has it taken up, word by word, without a shell.
    reload: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    #: Instead of a command: a signal to the process of this file.
    pid_file: str | None = None
    signal: str = "HUP"
    #: Or a systemd unit, by `systemctl reload`.
    unit: str | None = None
    reload_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: Path
    #: The same as `certificate`: one file holds both.
    key: Path


class FilesDeployer:
    Config: ClassVar[type[DeployerConfig]] = FilesConfig

    def __init__(self, config: FilesConfig, context: DeployerContext) -> None:
        self._config = config
        self._patterns = [_pattern(each) for each in config.paths]
        words = ["systemctl", "reload", config.unit] if config.unit else config.reload
        self._gate = Gate()
        self._reload = Shared(words, config.reload_seconds, self._gate) if words else None

    def takes(self, target: Target) -> bool:
        path = _path_of(target)
        return path is not None and any(each.fullmatch(str(path)) for each in self._patterns)

    async def deploy(self, target: Target, material: Material) -> None:
        async with self._gate.writing():
            await asyncio.to_thread(self._deploy, target, material)

    async def present(self, target: Target) -> tuple[bytes, ...]:
        return await asyncio.to_thread(self._present, target)

    async def activate(self, targets: Sequence[Target]) -> None:
        if self._config.pid_file is not None:
            async with self._gate.taking_up():
                await asyncio.to_thread(self._signal, self._config.pid_file)
        if self._reload is not None:
            try:
                await self._reload.run()
            except CommandFailed as error:
                raise DeployFailed("reload", str(error)) from error

    async def undo(self, target: Target) -> None:
        async with self._gate.writing():
            await asyncio.to_thread(self._undo, target)

    async def forget(self, target: Target) -> None:
        await asyncio.to_thread(self._forget, target)

    def _deploy(self, target: Target, material: Material) -> None:
        path = _resolved(target)
        with _told(path):
            begun = _kept(path).exists() and _holds_former(_kept(path), target)
            if not begun:
                # Of an earlier roll-out, which could not tidy up.
                self._forget(target)
            if not begun:
                _check_former(path, target)
            pair = self._pair(path)
            # Both are kept before anything is written; the certificate's last, which says that both are.
            if pair.key != pair.certificate and not _kept(pair.key).exists():
                _write(_File(_kept(pair.key), pair.key.read_bytes(), like=pair.key, secret=True))
            if not begun:
                held = pair.certificate.read_bytes()
                _write(_File(_kept(pair.certificate), held, like=pair.certificate, secret=True))
            if pair.key == pair.certificate:
                _write(_File(path, material.chain_pem + material.key_pem, like=path, secret=True))
            else:
                _write(
                    _File(pair.key, material.key_pem, like=pair.key, secret=True),
                    _File(pair.certificate, material.chain_pem, like=pair.certificate, secret=False),
                )

    def _present(self, target: Target) -> tuple[bytes, ...]:
        path = _resolved(target)
        with _told(path):
            return tuple(_certificates(_read(path)))

    def _undo(self, target: Target) -> None:
        path = _resolved(target)
        with _told(path):
            if not _kept(path).exists():
                return
            key = self._key_beside(path)
            former = _kept(path).read_bytes()
            found = [_File(path, former, like=path, secret=b"PRIVATE KEY" in former)]
            if key is not None and key != path and _kept(key).exists():
                found.insert(0, _File(key, _kept(key).read_bytes(), like=key, secret=True))
            _write(*found)

    def _forget(self, target: Target) -> None:
        path = _resolved(target)
        with _told(path):
            key = self._key_beside(path)
            # The certificate's first: as long as it is there, both are.
            for each in (path, key):
                if each is not None:
                    _kept(each).unlink(missing_ok=True)

    def _pair(self, path: Path) -> _Pair:
        key = self._key_beside(path)
        if key is None:
            raise DeployFailed(
                "not-found",
                'its key was not found in it or beside it. Say where it is: key: "{folder}/{stem}.key"',
            )
        return _Pair(path, key)

    def _key_beside(self, path: Path) -> Path | None:
        """Its key's file: by the config, or the first under a usual name whose key is the certificate's."""
        if self._config.key is not None:
            text = self._config.key.replace("{folder}", str(path.parent)).replace("{stem}", path.stem)
            text = text.replace("{first}", path.name.partition(".")[0])
            return Path(os.path.realpath(text.replace("{name}", path.name)))
        data = _read(path)
        if b"PRIVATE KEY" in data:
            return path
        found = _certificates(data)
        if not found:
            return None
        folder, stem = path.parent, path.stem
        usual = [
            f"{stem}.key",
            f"{stem}-key.pem",
            f"{path.name}.key",
            "privkey.pem",
            "tls.key",
            "server.key",
            "key.pem",
        ]
        usual.append(stem.replace("fullchain", "privkey").replace("cert", "key") + path.suffix)
        candidates = [folder / each for each in usual]
        candidates += [folder.parent / "private" / f"{stem}.key", folder.parent / "private" / f"{stem}.pem"]
        for each in candidates:
            if each != path and each.is_file():
                key = Path(os.path.realpath(each))
                # Kept: a crash came between the two files, which do not fit together for the moment.
                if _kept(key).exists() or _is_key_of(key, found[0]):
                    return key
        return None

    def _signal(self, pid_file: str) -> None:
        try:
            number = getattr(signal, f"SIG{self._config.signal.removeprefix('SIG')}")
            os.kill(int(Path(pid_file).read_text()), number)
        except (OSError, ValueError, AttributeError) as error:
            raise DeployFailed("reload", f"{pid_file}: {self._config.signal}: {error}") from error


def _pattern(text: str) -> re.Pattern[str]:
    """ "**" over folders, "*" and "?" within one."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", text)
    said = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(said.get(each, re.escape(each)) for each in parts))


def _path_of(target: Target) -> Path | None:
    parts = urlsplit(target.uri)
    # Containers (keystores, kubeconfigs) have a fragment or a query for what is inside: another deployer's.
    if parts.scheme != "file" or parts.fragment or parts.query:
        return None
    return Path(unquote(parts.path))


def _resolved(target: Target) -> Path:
    """What is written is the file, not the symbolic link that leads to it."""
    path = _path_of(target)
    if path is None:
        raise DeployFailed("other", "is not a plain file")
    return Path(os.path.realpath(path))


def _kept(path: Path) -> Path:
    return path.with_name(f".{path.name}{FORMER}")


class _told:
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


def _holds_former(path: Path, target: Target) -> bool:
    found = _certificates(_read(path))
    return bool(found) and read(found[0]).fingerprint_sha256 == target.former.fingerprint_sha256


def _check_former(path: Path, target: Target) -> None:
    if not _holds_former(path, target):
        raise DeployFailed(
            "changed", "holds another certificate than the one that was planned to go. Plan it anew"
        )


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DeployFailed("other", f"{path}: larger than {MAX_BYTES} bytes")
    return data


def _certificates(data: bytes) -> list[bytes]:
    return [each.data for each in blocks(data) if each.label.endswith("CERTIFICATE") and each.data]


def _is_key_of(path: Path, der: bytes) -> bool:
    try:
        key = serialization.load_pem_private_key(_read(path), None)
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    except (OSError, ValueError, TypeError, DeployFailed):
        return False
    import hashlib

    return hashlib.sha256(public).digest() == read(der).spki_sha256


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    data: bytes
    #: Owner, group, mode and context are its.
    like: Path
    #: A key's file is never readable for everybody.
    secret: bool


def _write(*files: _File) -> None:
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


def _prepared(each: _File) -> Path:
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
