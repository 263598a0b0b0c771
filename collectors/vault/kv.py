"""One KV mount: secrets below its paths, and the certificates in their values. Values are dropped as soon as they are read."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from certwatch.doors.rest import RequestFailed
from certwatch.doors.vault import Vault
from certwatch.doors.vault_kv import KV, kv_version
from certwatch.model.clock import Clock
from certwatch.model.location import VaultSecret, vault_secret_location
from certwatch.model.observation import Fact, Incomplete, LookError, Observation
from certwatch.model.shown import shown
from certwatch.x509.keyed import Entry, entries
from collectors.ca_database.rest.fetching import fetched
from collectors.vault.config import KVMount

#: Of one mount. More are an error, and nothing of it is taken for gone.
MOST_SECRETS = 50_000
MOST_FOLDERS = 10_000
#: Folders within one another.
DEEPEST = 32
LONGEST_PATH = 2000
_LONGEST = 200


def kv_scope(mount: str) -> str:
    return f"kv:{mount}"


@dataclass(frozen=True, slots=True)
class _Found:
    entries: tuple[Entry, ...]
    version: int


@dataclass(slots=True, kw_only=True)
class KVLook:
    vault: Vault
    wanted: KVMount
    #: The collector's own name.
    collector: str
    labels: dict[str, str]
    clock: Clock
    #: What may not be read.
    _failed: list[RequestFailed] = field(default_factory=list)

    @property
    def mount(self) -> str:
        return self.wanted.mount.strip("/")

    def looks(self) -> Iterator[Observation | Incomplete]:
        """Never raises RequestFailed: what fails is said, and nothing of the mount is taken for gone."""
        try:
            version = kv_version(self.vault, self.mount)
            if version is None:
                raise RequestFailed("other", "is no KV secrets engine. See what is mounted there")
            kv = KV(self.vault, self.mount, version)
            named = {each.strip("/") for each in self.wanted.paths}
            for path, found in fetched(self._paths(kv), lambda each: self._read(kv, each)):
                if isinstance(found, RequestFailed):
                    self._fail(found)
                elif found is not None:
                    for entry in found.entries:
                        yield self._entry(path, entry, found.version)
                elif path in named:
                    yield self._missing(path)
        except RequestFailed as failed:
            self._failed.insert(0, failed)
        if self._failed:
            yield Incomplete(scope=kv_scope(self.mount), error=self._told())

    def _missing(self, path: str) -> Incomplete:
        """Said, for it may be misspelt; in a scope of its own, so that what was there is gone."""
        message = (
            f"{self.collector}: KV mount {self.mount}: {shown(path)} is not there, or deleted. Take it out of `paths`, "
            "or see how it is spelt"
        )
        return Incomplete(
            scope=f"{kv_scope(self.mount)}/{path}", error=LookError(kind="not-found", message=message)
        )

    def _fail(self, failed: RequestFailed) -> None:
        """Raises it if the others would fail as well."""
        if failed.kind not in ("permission", "malformed"):
            raise failed
        self._failed.append(failed)

    def _read(self, kv: KV, path: str) -> _Found | RequestFailed | None:
        """In a thread of many. What it gives has no values in it: what waits for its turn stays small."""
        try:
            secret = kv.read(path)
        except RequestFailed as failed:
            return failed
        return None if secret is None else _Found(tuple(entries(secret.data, self._wants)), secret.version)

    def _paths(self, kv: KV) -> Iterator[str]:
        """Of secrets, each once; lists are asked for where a path has a wildcard."""
        patterns = [_pattern(each) for each in self.wanted.paths]
        told: set[str] = set()
        listed: set[str] = set()
        for text in self.wanted.paths:
            fixed = re.split(r"[*?]", text.strip("/"), maxsplit=1)[0]
            if fixed == text.strip("/"):
                told.add(fixed)
                yield fixed
                continue
            folders = [fixed.rpartition("/")[0] + "/" if "/" in fixed else ""]
            while folders:
                folder = folders.pop()
                if folder in listed:
                    continue
                listed.add(folder)
                if len(listed) > MOST_FOLDERS or folder.count("/") > DEEPEST:
                    raise _too_much(f"more than {MOST_FOLDERS} folders, or {DEEPEST} within one another")
                for name in sorted(self._names(kv, folder)):
                    path = folder + name
                    if len(path) > LONGEST_PATH:
                        raise _too_much(f"a path of more than {LONGEST_PATH} characters")
                    if name.endswith("/"):
                        if name != "/" and _may_hold(path, self.wanted.paths):
                            folders.append(path)
                    elif path not in told and any(each.fullmatch(path) for each in patterns):
                        if len(told) >= MOST_SECRETS:
                            raise _too_much(f"more than {MOST_SECRETS} secrets")
                        told.add(path)
                        yield path

    def _names(self, kv: KV, folder: str) -> list[str]:
        try:
            return kv.names(folder)
        except RequestFailed as failed:
            self._fail(failed)
            return []

    def _wants(self, key: str) -> bool:
        return any(_pattern(each).fullmatch(key) for each in self.wanted.keys)

    def _entry(self, path: str, entry: Entry, version: int) -> Observation:
        error = None
        if entry.damaged:
            where = f"{self.collector}: {self.mount}/{path}: {entry.key}"
            many = "a certificate" if entry.damaged == 1 else f"{entry.damaged} certificates"
            message = f"{shown(where[:_LONGEST])}: {many} in it cannot be read. Check what wrote it"
            error = LookError(kind="malformed", message=message)
        facts: dict[str, Fact] = {"arrangement": entry.arrangement}
        if version:
            facts["vault_version"] = version
        if entry.verdict in ("match", "mismatch"):
            facts["key_match"] = entry.verdict == "match"
        elif entry.verdict == "encrypted":
            facts["key_encrypted"] = True
        place = VaultSecret(collector=self.collector, mount=self.mount, path=path, key=entry.key)
        return Observation(
            location=vault_secret_location(place),
            observed_at=self.clock(),
            chain=entry.chain,
            facts=facts,
            labels={**self.labels, "path": path[:_LONGEST]},
            error=error,
            scope=kv_scope(self.mount),
        )

    def _told(self) -> LookError:
        first = self._failed[0]
        where = f"{self.collector}: KV mount {self.mount}"
        more = f" (and {len(self._failed) - 1} paths more)" if len(self._failed) > 1 else ""
        what = (
            ". Give its token the policy in deploy/vault/policy-kv.hcl" if first.kind == "permission" else ""
        )
        return LookError(kind=first.kind, message=f"{where}: {first.message}{more}{what}")


def _too_much(what: str) -> RequestFailed:
    return RequestFailed("other", f"{what}. Narrow down `paths`, or give parts of it to several collectors")


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    """ "**" over folders, "*" and "?" within one."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", text.strip("/"))
    said = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(said.get(each, re.escape(each)) for each in parts), re.DOTALL)


def _may_hold(folder: str, paths: tuple[str, ...]) -> bool:
    """Something below it may be wanted: no list is asked for that cannot have any."""
    steps = folder.strip("/").split("/")
    for text in paths:
        wanted = text.strip("/").split("/")
        for n, step in enumerate(steps):
            if n >= len(wanted):
                break
            if "**" in wanted[n]:
                return True
            if not _pattern(wanted[n]).fullmatch(step):
                break
        else:
            if len(wanted) > len(steps):
                return True
    return False
