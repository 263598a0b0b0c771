"""Certificate and key in files: put there by rename, with owner, mode and SELinux context as they were; then a reload."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives import serialization

from certwatch.plugins.deployer import DeployerConfig, DeployerContext, DeployFailed, Material, Target
from certwatch.remediation.deployers.files_of_server import FilesOfServer, FilesOfServerDeployer
from certwatch.remediation.deployers.former import is_former, not_as_planned
from certwatch.remediation.deployers.replaced import (
    Held,
    Replaced,
    kept_beside,
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


class FilesDeployer(FilesOfServerDeployer):
    Config: ClassVar[type[DeployerConfig]] = FilesConfig
    place = "a plain file"

    def __init__(self, config: FilesConfig, context: DeployerContext) -> None:
        super().__init__(config)
        self._config = config

    def _path_of(self, target: Target) -> Path | None:
        parts = urlsplit(target.uri)
        # Containers (keystores, kubeconfigs) have a fragment or a query for what is inside: another deployer's.
        if parts.scheme != "file" or parts.fragment or parts.query:
            return None
        return Path(unquote(parts.path))

    def _deploy(self, target: Target, material: Material) -> None:
        with self._opened(target) as (certificate, key):
            begun = _holds_former(certificate.kept(), target)
            if not begun and not _holds_former(certificate.read(), target):
                raise not_as_planned()
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
        path = self._path(target)
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
        path = self._path(target)
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


def _holds_former(data: bytes | None, target: Target) -> bool:
    return is_former(_certificates(data or b""), target.former)


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
