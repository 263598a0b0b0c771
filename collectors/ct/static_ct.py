"""Logs of tiles (C2SP static-ct-api)."""

import asyncio
from collections import OrderedDict

from certwatch.ct.heads import SignedHead, parse_log_checkpoint
from certwatch.ct.leaves import TILE, Beside, split_tile
from certwatch.ct.log_list import Log
from certwatch.ct.malformed import Malformed
from certwatch.ct.merkle import (
    TILE_HEIGHT,
    TILE_WIDTH,
    ProofError,
    Tree,
    fold,
    missing_subtrees,
    path_ranges,
    proof_ranges,
    subtree_in_tile,
    verify_inclusion,
)
from certwatch.ct.notes import MAX_BYTES as MAX_CHECKPOINT
from certwatch.ct.tiles import tile_path, tile_width
from collectors.ct.issuers import Issuers
from collectors.ct.requests import MissingError, Requests
from collectors.ct.source import MAX_BLOCK, Block, LogError

#: Hash tiles that are kept: 8 KiB each.
KEPT_TILES = 64


class StaticSource:
    """Keeps `LogSource`. Owned by the task that follows the log."""

    def __init__(self, log: Log, requests: Requests, issuers: Issuers) -> None:
        self._log = log
        self._requests = requests
        self._issuers = issuers
        # Full hash tiles never change.
        self._tiles: OrderedDict[tuple[int, int], list[bytes]] = OrderedDict()

    async def head(self) -> SignedHead:
        data = await self._requests.get("checkpoint", max_bytes=MAX_CHECKPOINT)
        try:
            head = parse_log_checkpoint(data, self._log.origin, self._log.key.log_id)
        except Malformed as error:
            html = " (it looks like HTML)" if b"<html" in data[:500].lower() else ""
            raise LogError(f"{self._requests.url}/checkpoint: {error}{html}") from error
        head.verify(self._log.key)
        return head

    def end_of_block(self, start: int, end: int) -> int:
        return min(end, start - start % TILE + TILE)

    async def block(self, start: int, end: int, size: int, most: int = MAX_BLOCK) -> Block:
        index = start // TILE
        width = tile_width(0, index, size)
        data = await self._tile("data", index, width, most)
        where = f"{self._requests.url}/{tile_path('data', index, width)}"
        try:
            leaves, spans = await asyncio.to_thread(split_tile, data)
        except Malformed as error:
            raise LogError(f"{where}: {error}") from error
        # In place of a partial tile that is there no more the full one has come.
        if len(leaves) < width or (len(leaves) not in (width, TILE)):
            raise LogError(f"{where}: {len(leaves)} entries instead of {width}")
        first = start - index * TILE
        last = min(end - index * TILE, width)
        return Block(
            first=start,
            leaves=leaves[first:last],
            rest=[(data, each) for each in spans[first:last]],
        )

    async def _tile(self, level: int | str, index: int, width: int, max_bytes: int) -> bytes:
        try:
            return await self._requests.get(tile_path(level, index, width), max_bytes=max_bytes)
        except MissingError:
            if width == TILE_WIDTH:
                raise
            # Partial tiles may go when the full one is there (tlog-tiles).
            return await self._requests.get(tile_path(level, index), max_bytes=max_bytes)

    async def consistency(self, first: int, second: SignedHead) -> list[bytes]:
        if first in (0, second.size):
            return []
        return [await self._root(low, high, second.size) for low, high in proof_ranges(first, second.size)]

    async def tree_before(self, index: int, head: SignedHead) -> Tree:
        tree = Tree()
        await self._complete(tree, index, head.size)
        whole = tree.copy()
        await self._complete(whole, head.size, head.size)
        if whole.root != head.root:
            raise ProofError(f"the hash tiles make another root for {head.size} entries than the signed one")
        return tree

    async def has(self, leaf: bytes, index: int | None, head: SignedHead) -> bool:
        if index is None:
            raise LogError("a timestamp of a static log without the entry's index", again=False)
        if index >= head.size:
            return False
        there = await self._subtree(0, index, head.size)
        path = [await self._root(low, high, head.size) for low, high in path_ranges(index, head.size)]
        verify_inclusion(index, head.size, there, path, head.root)
        return there == leaf

    async def _root(self, low: int, high: int, size: int) -> bytes:
        # Not aligned as a whole, but each half that a proof names begins where its largest subtree may.
        return fold(
            [await self._subtree(height, index, size) for height, index in missing_subtrees(low, high)]
        )

    async def _complete(self, tree: Tree, until: int, size: int) -> None:
        for height, index in missing_subtrees(tree.size, until):
            tree.push(height, await self._subtree(height, index, size))

    async def _subtree(self, height: int, index: int, size: int) -> bytes:
        level, inner = divmod(height, TILE_HEIGHT)
        tile = await self._hashes(level, (index << inner) // TILE_WIDTH, size)
        return subtree_in_tile(height, index, tile)

    async def _hashes(self, level: int, index: int, size: int) -> list[bytes]:
        kept = self._tiles.get((level, index))
        if kept is not None:
            self._tiles.move_to_end((level, index))
            return kept
        width = tile_width(level, index, size)
        data = await self._tile(level, index, width, TILE_WIDTH * 32)
        if len(data) not in (32 * width, 32 * TILE_WIDTH):
            path = tile_path(level, index, width)
            raise LogError(f"{self._requests.url}/{path}: {len(data)} bytes instead of {32 * width}")
        hashes = [data[each : each + 32] for each in range(0, len(data), 32)]
        if len(hashes) == TILE_WIDTH:
            self._tiles[level, index] = hashes
            if len(self._tiles) > KEPT_TILES:
                self._tiles.popitem(last=False)
        return hashes[:width]

    async def beside(self, block: Block, position: int, *, is_precertificate: bool) -> Beside:
        return await self._issuers.beside(block.rest[position], is_precertificate=is_precertificate)
