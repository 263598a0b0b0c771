"""CRLs on disk: after a restart they are asked for changes only, and what a server does not give is known from before."""

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from certwatch.telemetry.logs import get_logger

log = get_logger(__name__)

#: Of a header line; URLs and validators are a server's and a certificate's words.
MAX_HEADER = 16 << 10
_MAX_URL = 4096
_MAX_VALIDATORS = 1024


@dataclass(frozen=True, slots=True)
class _Head:
    """The first line of a file; the list as it was fetched follows."""

    #: As certificates name it, and where it came from after redirects.
    url: str
    source: str
    etag: str
    modified: str
    sha256: str


@dataclass(slots=True)
class KeptLists:
    """A file for each URL. As a cache of the fetcher it has validators alone: who is told that nothing changed has the list
    or reads it. One task at a time."""

    #: None: there is no such place, and only validators are kept, in memory.
    folder: Path | None
    _heads: dict[str, _Head] = field(default_factory=dict)
    #: By where the list came from.
    _validators: dict[str, tuple[str, str]] = field(default_factory=dict)

    def open(self) -> None:
        """Blocking: reads what is there, but for the lists themselves. What is no file of this kind is left alone."""
        if self.folder is None or self._heads:
            return
        for path in self.folder.glob("*.crl"):
            head = _head_of(path)
            if head is not None and path == self._path(head.url):
                self._heads[head.url] = head
                self._validators[head.source] = head.etag, head.modified

    # What the fetcher asks.

    def validators(self, url: str) -> dict[str, str]:
        etag, modified = self._validators.get(url, ("", ""))
        return ({"If-None-Match": etag} if etag else {}) | (
            {"If-Modified-Since": modified} if modified else {}
        )

    def body(self, url: str) -> bytes | None:
        return b"" if url in self._validators else None

    def keep(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        etag, modified = headers.get("etag", ""), headers.get("last-modified", "")
        self._validators.pop(url, None)
        if (etag or modified) and len(etag) + len(modified) <= _MAX_VALIDATORS:
            self._validators[url] = etag, modified

    # What the collector asks.

    def forget(self, source: str) -> None:
        """The next request is without a condition."""
        self._validators.pop(source, None)

    def read(self, url: str) -> bytes | None:
        """As it was fetched. Blocking. None: it is not there, or not what was written."""
        head = self._heads.get(url)
        if head is None:
            return None
        try:
            with self._path(url).open("rb") as file:
                file.readline(MAX_HEADER)
                body = file.read()
        except OSError:
            return None
        return body if hashlib.sha256(body).hexdigest() == head.sha256 else None

    def store(self, url: str, source: str, body: bytes, sha256: bytes) -> None:
        """Blocking; atomic. What cannot be written is logged, and only fetched again after a restart."""
        etag, modified = self._validators.get(source, ("", ""))
        head = _Head(url, source, etag, modified, sha256.hex())
        if self.folder is None or self._heads.get(url) == head or len(url) + len(source) > _MAX_URL:
            return
        path = self._path(url)
        fresh = path.with_suffix(".new")
        line = json.dumps([head.url, head.source, head.etag, head.modified, head.sha256]).encode() + b"\n"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with fresh.open("wb") as file:
                file.write(line)
                file.write(body)
            os.replace(fresh, path)
        except OSError as error:
            log.warning("crl_not_kept", url=url, error=str(error))
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
            return
        self._heads[url] = head

    def prune(self, wanted: Collection[str]) -> None:
        """Blocking: lists that no certificate names any more."""
        for url in [each for each in self._heads if each not in wanted]:
            self._validators.pop(self._heads.pop(url).source, None)
            with suppress(OSError):
                self._path(url).unlink(missing_ok=True)

    def _path(self, url: str) -> Path:
        assert self.folder is not None  # noqa: S101 - who has no folder has no heads
        return self.folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.crl"


def _head_of(path: Path) -> _Head | None:
    try:
        with path.open("rb") as file:
            fields = json.loads(file.readline(MAX_HEADER))
    except (OSError, ValueError, RecursionError):
        return None
    if isinstance(fields, list) and len(fields) == 5 and all(isinstance(each, str) for each in fields):
        return _Head(*fields)
    return None
