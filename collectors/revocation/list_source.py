"""Where the CRLs of one scan come from: their servers; where nothing has changed or nothing is to be had, memory or disk."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from certwatch.doors.failure import LookFailed
from certwatch.doors.fetch import Fetcher
from collectors.revocation import lists
from collectors.revocation.crl_index import CRLIndex
from collectors.revocation.kept import KeptLists


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    index: CRLIndex
    #: The server said that it is the same as before.
    unchanged: bool
    #: What the request took, and the answer's headers.
    seconds: float
    headers: Mapping[str, str]


#: Bytes of all lists of one scan together: they stay in memory, and whoever is seen with a certificate may name some.
MOST_BYTES = 1 << 30


@dataclass(slots=True)
class ListSource:
    """Owned by one scan. `_fetcher` has `_kept` for its cache."""

    _fetcher: Fetcher
    _kept: KeptLists
    #: By URL, of the scan before.
    _before: Mapping[str, CRLIndex]
    #: By URL, for the scan after.
    indexes: dict[str, CRLIndex] = field(default_factory=dict)
    most_bytes: int = MOST_BYTES

    async def get(self, url: str) -> Taken:
        """Raises LookFailed."""
        fetched = await self._fetcher.get(url)
        index: CRLIndex | None = None
        if fetched.from_cache:
            index = await self.known(url)
            if index is None:
                # Kept for another URL that leads to the same place, or gone from the disk.
                self._kept.forget(fetched.url)
                fetched = await self._fetcher.get(url)
        if index is None:
            self._find_room(url, len(fetched.body))
            index = await self._made(url, fetched.body)
            await asyncio.to_thread(self._kept.store, url, fetched.url, fetched.body, index.sha256)
        self.indexes[url] = index
        return Taken(
            index=index,
            unchanged=fetched.from_cache,
            seconds=fetched.seconds,
            headers=fetched.headers,
        )

    def _find_room(self, url: str, size: int) -> None:
        """Raises LookFailed."""
        taken = sum(each.size for named, each in self.indexes.items() if named != url)
        if taken + size > self.most_bytes:
            raise LookFailed(
                "other",
                f"{url}: not read: the CRLs of this scan have {taken + size:,} bytes together, more than {self.most_bytes:,}. "
                "Which certificates name so many? Lower max_crl_bytes, or switch crl off.",
            )

    async def known(self, url: str) -> CRLIndex | None:
        """The last one that was had, by this process or one before."""
        index = self._before.get(url)
        if index is None:
            body = await asyncio.to_thread(self._kept.read, url)
            if body is None:
                return None
            try:
                index = await asyncio.to_thread(lists.load, url, body)
            except LookFailed:
                return None
        self.indexes[url] = index
        return index

    async def _made(self, url: str, body: bytes) -> CRLIndex:
        before = self._before.get(url)
        if before is not None and await asyncio.to_thread(before.is_of, body):
            return before
        return await asyncio.to_thread(lists.load, url, body)
