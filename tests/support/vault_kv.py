"""The KV mounts `secret` (version 2) and `old` (version 1): of Vault itself where it is built, else its API as documented."""

import copy
from dataclasses import dataclass, field
from typing import Any, Protocol

from certwatch.doors.vault import Vault
from tests.support.json_server import Answer, Asked
from tests.support.vault import RealVault

MISMATCH = "check-and-set parameter did not match the current version"


class KVServer(Protocol):
    url: str
    root: str

    def put(self, path: str, **data: Any) -> None:
        """A new version of a secret of `secret`."""
        ...

    def get(self, path: str) -> tuple[dict[str, Any], int]:
        """Its newest version, and the number of it."""
        ...

    def notes(self, path: str) -> dict[str, str]: ...

    def keep(self, path: str, versions: int) -> None: ...

    def delete(self, path: str) -> None:
        """Its newest version."""
        ...


@dataclass
class FakeKV:
    url: str = ""
    root: str = "root-token"
    #: By path, from version 1 on. None: deleted.
    secrets: dict[str, list[dict[str, Any] | None]] = field(default_factory=dict)
    custom: dict[str, dict[str, str]] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    #: What is answered instead, by path.
    instead: dict[str, Answer] = field(default_factory=dict)

    def put(self, path: str, **data: Any) -> None:
        self.secrets.setdefault(path, []).append(copy.deepcopy(data))

    def get(self, path: str) -> tuple[dict[str, Any], int]:
        data = self.secrets[path][-1]
        assert data is not None
        return data, len(self.secrets[path])

    def notes(self, path: str) -> dict[str, str]:
        return self.custom.get(path, {})

    def keep(self, path: str, versions: int) -> None:
        self.kept[path] = versions

    def delete(self, path: str) -> None:
        self.secrets[path][-1] = None

    def answer(self, asked: Asked) -> Answer:
        path = asked.path.removeprefix("/v1/")
        if asked.headers.get("x-vault-token") != self.root:
            return 403, {"errors": ["permission denied"]}
        if path in self.instead:
            return self.instead[path]
        if path == "sys/internal/ui/mounts/secret":
            return 200, {"data": {"type": "kv", "options": {"version": "2"}, "path": "secret/"}}
        if path.startswith("sys/internal/ui/mounts/"):
            return 403, {"errors": ["preflight capability check returned 403"]}
        if path == "secret/config":
            return 200, {"data": {"max_versions": 0}}
        if asked.query.get("list") == "true":
            return self._list(path.removeprefix("secret/metadata").strip("/"))
        kind, _, name = path.removeprefix("secret/").partition("/")
        if name not in self.secrets:
            return 404, {"errors": []}
        return self._data(name, asked) if kind == "data" else self._metadata(name, asked)

    def _list(self, folder: str) -> Answer:
        begin = f"{folder}/" if folder else ""
        below = [each.removeprefix(begin) for each in self.secrets if each.startswith(begin)]
        keys = sorted({each.partition("/")[0] + ("/" if "/" in each else "") for each in below})
        return (200, {"data": {"keys": keys}}) if keys else (404, {"errors": []})

    def _data(self, name: str, asked: Asked) -> Answer:
        versions = self.secrets[name]
        if asked.method == "PATCH":
            if asked.body["options"]["cas"] != len(versions):
                return 400, {"errors": [MISMATCH]}
            merged = {**(versions[-1] or {}), **asked.body["data"]}
            versions.append({key: value for key, value in merged.items() if value is not None})
            return 200, {"data": {"version": len(versions)}}
        number = int(asked.query.get("version", len(versions)))
        kept = self.kept.get(name, 10)
        if not len(versions) - kept < number <= len(versions):
            return 404, {"errors": []}
        said = {"data": versions[number - 1], "metadata": {"version": number, "deletion_time": ""}}
        return (404 if versions[number - 1] is None else 200), {"data": said}

    def _metadata(self, name: str, asked: Asked) -> Answer:
        if asked.method == "PATCH":
            assert asked.headers["content-type"] == "application/merge-patch+json"
            merged = {**self.custom.get(name, {}), **asked.body["custom_metadata"]}
            self.custom[name] = {key: value for key, value in merged.items() if value is not None}
            return 204, b""
        said = {"max_versions": self.kept.get(name, 0), "custom_metadata": self.custom.get(name)}
        return 200, {"data": said}


class RealKV:
    def __init__(self, vault: RealVault) -> None:
        self.vault = vault
        self.url, self.root = vault.url, vault.root
        vault.call("sys/mounts/secret", type="kv", options={"version": "2"})
        vault.call("sys/mounts/old", type="kv", options={"version": "1"})

    def put(self, path: str, **data: Any) -> None:
        self.vault.call(f"secret/data/{path}", data=data)

    def get(self, path: str) -> tuple[dict[str, Any], int]:
        said = self._read(f"/secret/data/{path}")
        return said["data"], said["metadata"]["version"]

    def notes(self, path: str) -> dict[str, str]:
        return self._read(f"/secret/metadata/{path}")["custom_metadata"] or {}

    def keep(self, path: str, versions: int) -> None:
        self.vault.call(f"secret/metadata/{path}", max_versions=versions)

    def delete(self, path: str) -> None:
        self.vault.call(f"secret/delete/{path}", versions=[self.get(path)[1]])

    def _read(self, path: str) -> dict[str, Any]:
        with Vault(self.url, credentials=self.root) as vault:
            return vault.data(path, dict[str, Any])
