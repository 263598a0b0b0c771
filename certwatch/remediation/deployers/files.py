"""Certificate and key in files: put there by rename, with owner, mode and SELinux context as they were; then a reload."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives import serialization

from certwatch.plugins.deployer import DeployerConfig, DeployerContext, DeployFailed, Material, Target
from certwatch.remediation.deployers.replaced import (
    FilesOfServer,
    Replaced,
    TakingUp,
    kept_beside,
    pattern,
    read_file,
    replace_files,
    told,
)
from certwatch.x509.der import read
from certwatch.x509.pem import blocks


class FilesConfig(FilesOfServer):
    #: Where the key is: "{folder}/{stem}.key". {name}: the whole name; {first}: up to its first dot. None: in the same
    #: file, or beside it under a usual name.
    key: str | None = None


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: Path
    #: The same as `certificate`: one file holds both.
    key: Path


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
        path = _resolved(target)
        with told(path):
            begun = kept_beside(path).exists() and _holds_former(kept_beside(path), target)
            if not begun:
                # Of an earlier roll-out, which could not tidy up.
                self._forget(target)
            if not begun:
                _check_former(path, target)
            pair = self._pair(path)
            # Both are kept before anything is written; the certificate's last, which says that both are.
            if pair.key != pair.certificate and not kept_beside(pair.key).exists():
                replace_files(
                    Replaced(kept_beside(pair.key), pair.key.read_bytes(), like=pair.key, secret=True)
                )
            if not begun:
                held = pair.certificate.read_bytes()
                replace_files(
                    Replaced(kept_beside(pair.certificate), held, like=pair.certificate, secret=True)
                )
            if pair.key == pair.certificate:
                replace_files(Replaced(path, material.chain_pem + material.key_pem, like=path, secret=True))
            else:
                replace_files(
                    Replaced(pair.key, material.key_pem, like=pair.key, secret=True),
                    Replaced(pair.certificate, material.chain_pem, like=pair.certificate, secret=False),
                )

    def _present(self, target: Target) -> tuple[bytes, ...]:
        path = _resolved(target)
        with told(path):
            return tuple(_certificates(read_file(path)))

    def _undo(self, target: Target) -> None:
        path = _resolved(target)
        with told(path):
            if not kept_beside(path).exists():
                return
            key = self._key_beside(path)
            former = kept_beside(path).read_bytes()
            found = [Replaced(path, former, like=path, secret=b"PRIVATE KEY" in former)]
            if key is not None and key != path and kept_beside(key).exists():
                found.insert(0, Replaced(key, kept_beside(key).read_bytes(), like=key, secret=True))
            replace_files(*found)

    def _forget(self, target: Target) -> None:
        path = _resolved(target)
        with told(path):
            key = self._key_beside(path)
            # The certificate's first: as long as it is there, both are.
            for each in (path, key):
                if each is not None:
                    kept_beside(each).unlink(missing_ok=True)

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
        data = read_file(path)
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
                if kept_beside(key).exists() or _is_key_of(key, found[0]):
                    return key
        return None


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


def _holds_former(path: Path, target: Target) -> bool:
    found = _certificates(read_file(path))
    return bool(found) and read(found[0]).fingerprint_sha256 == target.former.fingerprint_sha256


def _check_former(path: Path, target: Target) -> None:
    if not _holds_former(path, target):
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
    import hashlib

    return hashlib.sha256(public).digest() == read(der).spki_sha256
