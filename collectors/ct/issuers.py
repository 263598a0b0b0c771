"""Issuers' certificates of static logs, fetched by their SHA-256 and kept: there are few."""

from collections import OrderedDict
from hashlib import sha256

from certwatch.ct.leaves import Beside, tile_beside
from collectors.ct.requests import Requests
from collectors.ct.source import LogError

#: Kept, of one log.
MOST = 200
MAX_BYTES = 256 << 10
#: Of one chain.
LONGEST_CHAIN = 10


class Issuers:
    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()

    async def beside(self, rest: object, *, is_precertificate: bool) -> Beside:
        """Of an entry of a data tile: the tile and where the entry's rest begins. An issuer that the log does not give is left
        out. Raises Malformed."""
        assert isinstance(rest, tuple)  # noqa: S101
        data, position = rest
        found = tile_beside(data, position, is_precertificate=is_precertificate)
        chain = [await self._get(each) for each in found.issuers[:LONGEST_CHAIN]]
        return Beside(
            precertificate=found.precertificate,
            chain=tuple(each for each in chain if each is not None),
            issuers=found.issuers,
        )

    async def _get(self, fingerprint: bytes) -> bytes | None:
        kept = self._kept.get(fingerprint)
        if kept is not None:
            self._kept.move_to_end(fingerprint)
            return kept
        try:
            found = await self._requests.get(f"issuer/{fingerprint.hex()}", max_bytes=MAX_BYTES, tries=2)
        except LogError:
            return None
        if sha256(found).digest() != fingerprint:
            return None
        self._kept[fingerprint] = found
        if len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return found
