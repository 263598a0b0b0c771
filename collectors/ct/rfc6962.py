"""Logs of RFC 6962, and hybrids of them that have data tiles as well."""

import asyncio
import base64
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import quote

import msgspec

from certwatch.ct.heads import SignedHead, parse_sth
from certwatch.ct.leaves import TILE, Beside, parse_extra_data, split_tile
from certwatch.ct.log_list import Log
from certwatch.ct.malformed import Malformed
from certwatch.ct.merkle import ProofError, Tree, leaf_hash, left_siblings, verify_inclusion
from certwatch.ct.tiles import tile_path
from collectors.ct.issuers import Issuers
from collectors.ct.requests import MissingError, Requests
from collectors.ct.source import MAX_BLOCK, Block, LogError, TooLargeError

T = TypeVar("T")

MAX_SMALL = 1 << 20
MAX_PROOF = 64


class _Entry(msgspec.Struct):
    leaf_input: bytes
    #: Left as it stands: only few are looked at.
    extra_data: msgspec.Raw = msgspec.Raw(b'""')


class _Entries(msgspec.Struct):
    entries: list[_Entry]


class _Consistency(msgspec.Struct):
    consistency: list[bytes] | None


class _EntryAndProof(msgspec.Struct):
    leaf_input: bytes
    audit_path: list[bytes] | None = None


class _Proof(msgspec.Struct):
    leaf_index: int
    audit_path: list[bytes] | None = None


_decode_entries = msgspec.json.Decoder(_Entries).decode


class RFC6962Source:
    """Keeps `LogSource`. Owned by the task that follows the log."""

    def __init__(self, log: Log, requests: Requests, issuers: Issuers) -> None:
        self._log = log
        self._requests = requests
        self._issuers = issuers
        self._pace = requests.pace

    async def head(self) -> SignedHead:
        head = parse(await self._get("get-sth", MAX_SMALL), parse_sth, self._where("get-sth"))
        head.verify(self._log.key)
        return head

    async def probe(self, size: int) -> None:
        """Find out whether it is a hybrid: data tiles are a fifth of the bytes."""
        if self._pace.has_tiles is None and size >= TILE:
            try:
                data = await self._requests.get(tile_path("data", 0), max_bytes=MAX_BLOCK, tries=1)
                leaves, _ = await asyncio.to_thread(split_tile, data)
                first = await self._entries(0, 1)
                self._pace.has_tiles = len(leaves) == TILE and leaves[0] == first.leaves[0]
            except (LogError, Malformed):
                self._pace.has_tiles = False

    @property
    def is_hybrid(self) -> bool:
        return bool(self._pace.has_tiles)

    def distrust_tiles(self) -> None:
        """What came from tiles did not hash to the head: entries are asked for by `get-entries` from now on."""
        self._pace.has_tiles = False

    def end_of_block(self, start: int, end: int) -> int:
        if self._pace.has_tiles and start % TILE == 0 and end - start >= TILE:
            return start + TILE
        # Logs cut pages at multiples of their own size: asking for aligned ones gives whole ones.
        return min(end, start - start % self._pace.page + self._pace.page)

    async def block(self, start: int, end: int, size: int, most: int = MAX_BLOCK) -> Block:
        if self._pace.has_tiles and start % TILE == 0 and end - start >= TILE:
            try:
                return await self._tile(start, most)
            except MissingError:
                pass  # the newest are not yet there
        return await self._entries(start, end, most)

    async def _tile(self, start: int, most: int) -> Block:
        path = tile_path("data", start // TILE)
        data = await self._requests.get(path, max_bytes=most)
        try:
            leaves, spans = await asyncio.to_thread(split_tile, data)
        except Malformed as error:
            raise LogError(f"{self._requests.url}/{path}: {error}") from error
        if len(leaves) != TILE:
            raise LogError(f"{self._requests.url}/{path}: {len(leaves)} entries instead of {TILE}")
        return Block(first=start, leaves=leaves, rest=[(data, each) for each in spans[:-1]])

    async def _entries(self, start: int, end: int, most: int = MAX_BLOCK) -> Block:
        path = f"get-entries?start={start}&end={end - 1}"
        try:
            data = await self._get(path, most)
        except TooLargeError:
            if end - start == 1:
                raise
            # A giant is among them: ask for fewer.
            self._pace.page = max(1, self._pace.page // 4)
            return await self._entries(start, start + max(1, (end - start) // 4), most)
        found = await asyncio.to_thread(parse, data, _decode_entries, self._where(path))
        count = len(found.entries)
        if not count or count > end - start:
            raise LogError(f"{self._where(path)}: {count} entries instead of {end - start}")
        if count < end - start and count & (count - 1) == 0 and end - start == self._pace.page:
            # A page of its own size, which is a power of two wherever it was seen.
            self._pace.page = count
        return Block(
            first=start,
            leaves=[each.leaf_input for each in found.entries],
            rest=[each.extra_data for each in found.entries],
        )

    async def consistency(self, first: int, second: SignedHead) -> list[bytes]:
        if first in (0, second.size):
            return []
        path = f"get-sth-consistency?first={first}&second={second.size}"
        data = await self._get(path, MAX_SMALL)
        said = parse(data, lambda each: msgspec.json.decode(each, type=_Consistency), self._where(path))
        return _hashes(said.consistency or [], self._where(path))

    async def tree_before(self, index: int, head: SignedHead) -> Tree:
        if index == 0:
            return Tree()
        # Of the last entry of all, the leaf must be added to what stands left of it.
        asked = min(index, head.size - 1)
        path = f"get-entry-and-proof?leaf_index={asked}&tree_size={head.size}"
        try:
            data = await self._get(path, MAX_BLOCK)
            said = parse(data, lambda each: msgspec.json.decode(each, type=_EntryAndProof), self._where(path))
            leaf, proof = leaf_hash(said.leaf_input), said.audit_path or []
        except LogError:
            leaf = leaf_hash((await self._entries(asked, asked + 1)).leaves[0])
            hash = quote(base64.b64encode(leaf).decode(), safe="")
            path = f"get-proof-by-hash?hash={hash}&tree_size={head.size}"
            data = await self._get(path, MAX_SMALL)
            answer = parse(data, lambda each: msgspec.json.decode(each, type=_Proof), self._where(path))
            if answer.leaf_index != asked:
                raise ProofError(f"entry {asked} is said to be entry {answer.leaf_index}") from None
            proof = answer.audit_path or []
        proof = _hashes(proof, self._where(path))
        verify_inclusion(asked, head.size, leaf, proof, head.root)
        tree = left_siblings(asked, head.size, proof)
        if asked < index:
            tree.extend([leaf])
        return tree

    async def has(self, leaf: bytes, index: int | None, head: SignedHead) -> bool:
        hash = quote(base64.b64encode(leaf).decode(), safe="")
        path = f"get-proof-by-hash?hash={hash}&tree_size={head.size}"
        try:
            data = await self._get(path, MAX_SMALL)
        except MissingError:
            return False  # as Trillian answers; that it is not there cannot be proven
        answer = parse(data, lambda each: msgspec.json.decode(each, type=_Proof), self._where(path))
        proof = _hashes(answer.audit_path or [], self._where(path))
        verify_inclusion(answer.leaf_index, head.size, leaf, proof, head.root)
        return True

    async def beside(self, block: Block, position: int, *, is_precertificate: bool) -> Beside:
        rest = block.rest[position]
        if isinstance(rest, msgspec.Raw):
            try:
                data = msgspec.json.decode(rest, type=bytes)
            except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
                raise Malformed("extra_data that is no base64") from error
            return parse_extra_data(data, is_precertificate=is_precertificate)
        return await self._issuers.beside(rest, is_precertificate=is_precertificate)

    async def _get(self, path: str, max_bytes: int) -> bytes:
        return await self._requests.get(f"ct/v1/{path}", max_bytes=max_bytes)

    def _where(self, path: str) -> str:
        return f"{self._requests.url}/ct/v1/{path}"


def parse(data: bytes, reader: Callable[[bytes], T], where: str) -> T:
    """Raises LogError: the answer is not what was asked for."""
    try:
        return reader(data)
    except (Malformed, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        html = (
            " (it looks like HTML)"
            if data[:200].lstrip().lower().startswith((b"<!doctype", b"<html"))
            else ""
        )
        raise LogError(f"{where}: answers with something else{html}: {str(error)[:200]}") from error


def _hashes(found: Sequence[bytes], where: str) -> list[bytes]:
    if len(found) > MAX_PROOF or any(len(each) != 32 for each in found):
        raise LogError(f"{where}: no proof of {MAX_PROOF} hashes at most")
    return list(found)
