"""Vault's and OpenBao's KV secrets engine over HTTP: secrets by their paths; those of version 2 with check-and-set.

Blocking, for threads. Paths and fields: "KV secrets engine (API)" of either.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import msgspec

from certwatch.doors.rest import RequestFailed
from certwatch.doors.vault import Vault, says_nothing_is_there

#: Of one secret, with all its keys: storage takes less.
MAX_SECRET_BYTES = 4 << 20
#: That are kept where nobody says how many.
USUAL_VERSIONS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    #: What it holds, by key. Never shown.
    data: Mapping[str, Any] = field(repr=False)
    #: 0: the mount has no versions.
    version: int


class _Versioned(msgspec.Struct):
    version: int = 0


class _Data(msgspec.Struct):
    data: dict[str, Any] | None = None
    metadata: _Versioned | None = None


class _Metadata(msgspec.Struct):
    max_versions: int = 0
    custom_metadata: dict[str, str] | None = None


class _Config(msgspec.Struct):
    max_versions: int = 0


class _Mount(msgspec.Struct):
    type: str = ""
    options: dict[str, str] | None = None


class CheckAndSetFailed(Exception):
    """Somebody has written a newer version meanwhile."""


class KV:
    """One mount. Methods raise RequestFailed."""

    def __init__(self, vault: Vault, mount: str, version: int = 2) -> None:
        self._vault = vault
        self._mount = "/" + quote(mount.strip("/"))
        self._version = version

    def names(self, folder: str) -> list[str]:
        """Below a folder ("" or "web/"), folders with a slash behind."""
        return self._vault.names(self._path("metadata", folder.rstrip("/")))

    def read(self, path: str, version: int | None = None) -> Secret | None:
        """`version` None: the newest. None: it is not there, or deleted."""
        params = {"version": str(version)} if version is not None else None
        try:
            if self._version == 1:
                held = self._vault.data(self._path("", path), dict[str, Any], max_bytes=MAX_SECRET_BYTES)
                return Secret(data=held, version=0)
            said = self._vault.data(self._path("data", path), _Data, params, max_bytes=MAX_SECRET_BYTES)
        except RequestFailed as failed:
            # A version that is deleted has its metadata still, and no error beside it.
            if says_nothing_is_there(failed) or (failed.status == 404 and b'"deletion_time"' in failed.body):
                return None
            raise
        if said.data is None:
            # Of what is deleted Vault says 404.
            raise RequestFailed("malformed", f"{self._vault.where}: a secret without data. See the URL")
        return Secret(data=said.data, version=said.metadata.version if said.metadata else 0)

    def change(self, path: str, values: Mapping[str, object], *, version: int) -> None:
        """A new version, with these keys; all others stay, and those with None go. Only if the newest is still `version`,
        else CheckAndSetFailed."""
        try:
            # The others are merged by the server: they do not even travel.
            self._vault.patch(self._path("data", path), {"options": {"cas": version}, "data": dict(values)})
        except RequestFailed as failed:
            if failed.status == 400 and b"check-and-set" in failed.body:
                raise CheckAndSetFailed from failed
            raise

    def notes(self, path: str) -> dict[str, str]:
        """Its custom metadata, which all its versions share."""
        return self._vault.data(self._path("metadata", path), _Metadata).custom_metadata or {}

    def note(self, path: str, notes: Mapping[str, str | None]) -> None:
        """Into its custom metadata; None takes one away."""
        self._vault.patch(self._path("metadata", path), {"custom_metadata": dict(notes)})

    def versions_kept(self, path: str) -> int:
        """The larger of what the secret and the mount say; where the mount's config may not be read, the secret's."""
        own = self._vault.data(self._path("metadata", path), _Metadata).max_versions
        try:
            of_mount = self._vault.data(f"{self._mount}/config", _Config).max_versions
        except RequestFailed as failed:
            if failed.status != 403:
                raise
            of_mount = 0
        return max(own, of_mount) or USUAL_VERSIONS

    def _path(self, kind: str, path: str) -> str:
        steps = [self._mount, *([kind] if self._version == 2 and kind else []), quote(path)]
        return "/".join(each for each in steps if each)


def kv_version(vault: Vault, mount: str) -> int | None:
    """Of a mount, as every token that may do anything there is told (the `vault` command asks for it as well). None: it is no
    KV. Raises RequestFailed."""
    said = vault.data(f"/sys/internal/ui/mounts/{quote(mount.strip('/'))}", _Mount)
    if said.type not in ("kv", "generic"):
        return None
    return 2 if (said.options or {}).get("version") == "2" else 1
