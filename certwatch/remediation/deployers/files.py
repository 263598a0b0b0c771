"""Certificate and key in files: put there by rename, with owner, mode and SELinux context as they were; then a reload."""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives import serialization

from certwatch.plugins.deployer import DeployerConfig, DeployerContext, DeployFailed, Material, Target
from certwatch.remediation.deployers.replaced import (
    FilesOfServer,
    Held,
    Replaced,
    TakingUp,
    kept_beside,
    pattern,
    put_back,
    read_file,
    replace_files,
    resolved,
    told,
)
from certwatch.x509.der import read
from certwatch.x509.pem import blocks


class FilesConfig(FilesOfServer):
    #: Where the key is: "{folder}/{stem}.key". {name}: the whole name; {first}: up to its first dot. None: in the same
    #: file, or beside it under a usual name.
    key: str | None = None


class FilesDeployer:
    Config: ClassVar[type[DeployerConfig]] = FilesConfig

    def __init__(self, config: FilesConfig, context: DeployerContext) -> None:
        self._config = config
        self._patterns = [pattern(each) for each in config.paths]
        self._taking_up = TakingUp(config)

    def takes(self, target: Target) -> bool:
        path = _path_of(target)
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

    def _deploy(self, target: Target, material: Material) -> None:
        with self._opened(target) as (certificate, key):
            begun = _holds_former(certificate.kept(), target)
            if not begun:
                _check_former(certificate.read(), target)
            if key is None:
                raise DeployFailed(
                    "not-found",
                    'its key was not found in it or beside it. Say where it is: key: "{folder}/{stem}.key"',
                )
            if not begun:
                # Of an earlier roll-out, which could not tidy up.
                for each in (certificate, key):
                    each.forget()
            # Both are kept before anything is written; the certificate's last, which says that both are.
            if key.path != certificate.path and key.kept() is None:
                key.keep()
            if certificate.kept() is None:
                certificate.keep()
            if key.path == certificate.path:
                replace_files(Replaced(certificate, material.chain_pem + material.key_pem, secret=True))
            else:
                replace_files(
                    Replaced(key, material.key_pem, secret=True),
                    Replaced(certificate, material.chain_pem, secret=False),
                )

    def _present(self, target: Target) -> tuple[bytes, ...]:
        path = _path(target)
        with told(path):
            return tuple(_certificates(read_file(path)))

    def _undo(self, target: Target) -> None:
        with self._opened(target) as (certificate, key):
            if not _holds_former(certificate.kept(), target):
                return
            put_back(*(each for each in dict.fromkeys((key, certificate)) if each is not None))

    def _forget(self, target: Target) -> None:
        with self._opened(target) as (certificate, key):
            kept = certificate.kept()
            if kept is not None and not _holds_former(kept, target):
                return  # another roll-out's
            # The certificate's first: as long as it is there, both are.
            for each in (certificate, key):
                if each is not None:
                    each.forget()

    @contextmanager
    def _opened(self, target: Target) -> Iterator[tuple[Held, Held | None]]:
        """The certificate's file, and its key's: the same where one file holds both. None: it is not known."""
        path = _path(target)
        with told(path), ExitStack() as stack:
            path = resolved(path)
            certificate = stack.enter_context(Held(path))
            key = self._key_beside(path)
            if key is None or key == path:
                yield certificate, certificate if key == path else None
            else:
                yield certificate, stack.enter_context(Held(key))

    def _key_beside(self, path: Path) -> Path | None:
        """Its key's file: by the config, or the first under a usual name whose key is the certificate's."""
        if self._config.key is not None:
            text = self._config.key.replace("{folder}", str(path.parent)).replace("{stem}", path.stem)
            text = text.replace("{first}", path.name.partition(".")[0])
            return resolved(Path(text.replace("{name}", path.name)))
        try:
            data = read_file(path)
        except FileNotFoundError:
            # Somebody has removed it in the middle of a roll-out.
            data = read_file(kept_beside(path)) if kept_beside(path).exists() else b""
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
                key = resolved(each)
                # Kept: a crash came between the two files, which do not fit together for the moment.
                if kept_beside(key).exists() or _is_key_of(key, found[0]):
                    return key
        return None


def _path_of(target: Target) -> Path | None:
    parts = urlsplit(target.uri)
    # Containers (keystores, kubeconfigs) have a fragment or a query for what is inside: another deployer's.
    if parts.scheme != "file" or parts.fragment or parts.query:
        return None
    return Path(unquote(parts.path))


def _path(target: Target) -> Path:
    path = _path_of(target)
    if path is None:
        raise DeployFailed("other", "is not a plain file")
    return path


def _holds_former(data: bytes | None, target: Target) -> bool:
    found = _certificates(data or b"")
    return bool(found) and read(found[0]).fingerprint_sha256 == target.former.fingerprint_sha256


def _check_former(data: bytes, target: Target) -> None:
    if not _holds_former(data, target):
        raise DeployFailed(
            "changed", "holds another certificate than the one that was planned to go. Plan it anew"
        )


def _certificates(data: bytes) -> list[bytes]:
    return [each.data for each in blocks(data) if each.label.endswith("CERTIFICATE") and each.data]


def _is_key_of(path: Path, der: bytes) -> bool:
    try:
        key = serialization.load_pem_private_key(read_file(path), None)
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    except (OSError, ValueError, TypeError, DeployFailed):
        return False
    return hashlib.sha256(public).digest() == read(der).spki_sha256
