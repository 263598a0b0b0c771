"""What was fetched and has a validator, so that what has not changed is not sent again (RFC 9110, 13)."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Cache(Protocol):
    """What a fetcher asks of one, in the event loop."""

    def validators(self, url: str) -> dict[str, str]:
        """Headers of a conditional request. Empty: it is asked without a condition."""
        ...

    def body(self, url: str) -> bytes | None:
        """For what has not changed. None: not known."""
        ...

    def keep(self, url: str, headers: Mapping[str, str], body: bytes) -> None: ...


@dataclass(slots=True)
class FetchCache:
    """Bounded; the least recently used go first. Lives longer than a fetcher; belongs to one event loop."""

    max_bytes: int = 64 << 20
    _kept: "OrderedDict[str, tuple[str, str, bytes]]" = field(default_factory=OrderedDict)
    _size: int = 0

    def validators(self, url: str) -> dict[str, str]:
        etag, modified, _ = self._kept.get(url, ("", "", b""))
        return ({"If-None-Match": etag} if etag else {}) | (
            {"If-Modified-Since": modified} if modified else {}
        )

    def body(self, url: str) -> bytes | None:
        if url not in self._kept:
            return None
        self._kept.move_to_end(url)
        return self._kept[url][2]

    def keep(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        self.forget(url)
        etag, modified = headers.get("etag", ""), headers.get("last-modified", "")
        if not (etag or modified) or len(etag) + len(modified) > 1024 or len(body) > self.max_bytes:
            return
        self._kept[url] = (etag, modified, body)
        self._size += len(body)
        while self._size > self.max_bytes:
            self.forget(next(iter(self._kept)))

    def forget(self, url: str) -> None:
        kept = self._kept.pop(url, None)
        self._size -= len(kept[2]) if kept else 0
