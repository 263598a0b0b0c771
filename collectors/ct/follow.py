"""One log, followed through one scan: head → blocks in order → hashed, sifted → verified → told.

Nothing is told before it is verified: what matches waits until the tree that its stretch of entries leads to is the signed
one, or is proven to be its beginning. Then the entries are told, and after them the state, so that a crash between the two
reads the stretch again and loses nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from certwatch.ct.heads import BadSignature, SignedHead
from certwatch.ct.leaves import Beside, leaf_index
from certwatch.ct.log_list import Log
from certwatch.ct.malformed import Malformed
from certwatch.ct.merkle import ProofError, Stretch, Tree
from certwatch.model.clock import Clock
from certwatch.model.observation import LookError, Observation
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import (
    CT_BEHIND,
    CT_ENTRIES,
    CT_FAULTS,
    CT_HEAD_SIZE,
    CT_HEAD_TIME,
    CT_MATCH_DELAY,
    CT_READ_TIME,
    CT_SIZE,
    CT_SUSPECTS,
)
from certwatch.x509 import der
from collectors.ct.blocks import Blocks, Room
from collectors.ct.caa import Allowance
from collectors.ct.clocks import Clocks
from collectors.ct.found import observation
from collectors.ct.heads import judge_head, prove
from collectors.ct.rfc6962 import RFC6962Source
from collectors.ct.sieve import Hit, Sieve
from collectors.ct.source import Block, LogError, LogSource
from collectors.ct.start import find_start
from collectors.ct.state import Fault, FaultKind, LogState, Rescan, log_location, rfc3339, to_facts

log = get_logger(__name__)

#: Entries between two proofs, which are a request each; their hashes are kept until then.
STRETCH = 8_192
#: Matches that wait for the proof, and their bytes; more, and it is asked for at once.
MOST_WAITING, MOST_BYTES_WAITING = 500, 16 << 20
#: Scope of logs' own locations.
LOGS = "logs"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """A match whose stretch is not yet verified."""

    index: int
    leaf: bytes
    hit: Hit
    beside: Beside | None

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        beside = self.beside
        return 2 * len(self.leaf) + (sum(map(len, beside.chain)) if beside is not None else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """Entries that were read, and not yet proven."""

    before: Tree
    #: The tree that they make.
    tree: Tree
    hashes: Sequence[bytes]
    waiting: Sequence[_Waiting]
    #: Of the last entry, milliseconds since 1970.
    timestamp: int


@dataclass(slots=True, kw_only=True)
class Follower:
    """Reads one log. Owned by its task; `state` is what is verified."""

    log: Log
    source: LogSource
    state: LogState
    sieve: Sieve
    #: Where a log begins that was never read: None the end, else that instant; the beginning is 1970.
    begin_at: datetime | None
    clock: Clock
    #: Given what is to be recorded, in order; waits when the writer is behind.
    tell: Callable[[Observation], Awaitable[None]]
    room: Room
    #: True: the scan's time is over.
    is_over: Callable[[], bool]
    #: What time it is by the logs' servers.
    clocks: Clocks = field(default_factory=Clocks)
    #: What is looked for in what was read before names were added. None: nothing.
    rescan_sieve: Sieve | None = None
    #: Whether CAA records allow what is found. None: they are not asked.
    allowance: Allowance | None = None

    async def run(self) -> bool:
        """Read up to the head that there is now. True: there is more, and no time. Raises LogError: the log does not answer."""
        if self.state.is_finished and self.state.rescan is None:
            return False
        head = await self._head()
        if head is None:
            return False
        if not self.state.is_begun:
            await self._begin(head)
        is_behind = self.state.tree.size < head.size or self.state.rescan is not None
        if is_behind and isinstance(self.source, RFC6962Source):
            await self.source.probe(head.size)
        while self.state.tree.size < head.size:
            if self.is_over():
                return True
            if not await self._read_on(head):
                return False
        await self._caught_up(head)
        return await self._look_back(head)

    @property
    def _is_hybrid(self) -> bool:
        return isinstance(self.source, RFC6962Source) and self.source.is_hybrid

    async def _head(self) -> SignedHead | None:
        """The newest head that may be believed. None: there is none now. What is wrong is a fault, and is told."""
        try:
            found = await self.source.head()
        except BadSignature as error:
            await self._fault("bad-signature", str(error))
            return None
        CT_HEAD_SIZE.labels(self.log.name).set(found.size)
        CT_HEAD_TIME.labels(self.log.name).set(found.timestamp / 1000)
        is_clock_wrong = self.clocks.is_wrong(self.clock())
        if is_clock_wrong:
            log.error(
                "ct_clock_wrong",
                log=self.log.name,
                hint="most logs' servers have another time: set the clock",
            )
        verdict = await judge_head(
            self.log, self.source, self.state, found, self.clock(), is_clock_wrong=is_clock_wrong
        )
        held = {"past-mmd": verdict.is_late, "from-the-future": verdict.is_ahead}
        self.state = self.state.without_faults(
            "bad-signature", *(kind for kind, still in held.items() if not still)
        )
        for fault in verdict.faults:
            await self._add(fault)
        return verdict.head

    async def _begin(self, head: SignedHead) -> None:
        start = await find_start(self.source, head, self.begin_at, self.log.mmd)
        try:
            tree = await self.source.tree_before(start, head)
        except ProofError as error:
            await self._fault("wrong-root", str(error), head)
            raise LogError(f"{self.log.url}: {error}") from error
        log.info("ct_log_begun", log=self.log.name, start=start, size=head.size)
        self.state = replace(self.state, tree=tree, begin=tree.copy(), is_begun=True)

    async def _read_on(self, head: SignedHead) -> bool:
        """A stretch: read, verify, tell. False: what was read is not what the head says."""
        by_tiles = self._is_hybrid
        read = await self._read(self.state.tree, head.size, head, self.sieve)
        proof = await self._proof(read, head)
        if proof is None:
            # Read again by the other way, if there is one.
            return by_tiles and not self._is_hybrid
        at = datetime.fromtimestamp(min(read.timestamp / 1000, self.clock().timestamp()), UTC)
        known = self.state.head
        self.state = replace(
            self.state,
            tree=read.tree,
            read_at=rfc3339(at),
            head=head if known is None or known.size <= head.size else known,
        ).without_faults("wrong-root")
        CT_ENTRIES.labels(self.log.name).inc(len(read.hashes))
        await self._tell_matches(read, head, proof)
        await self.tell_state()
        return True

    async def _read(self, before: Tree, until: int, head: SignedHead, sieve: Sieve) -> _Stretch:
        end = min(until, before.size - before.size % STRETCH + STRETCH)
        hashes: list[bytes] = []
        waiting: list[_Waiting] = []
        timestamp = size = 0
        async with Blocks(self.source, sieve, before.size, end, head.size, self.room) as blocks:
            async for block, sifted in blocks:
                hashes += sifted.hashes
                timestamp = sifted.timestamp
                CT_SUSPECTS.labels(self.log.name).inc(sifted.suspects)
                for hit in sifted.hits:
                    waiting.append(await self._waiting(block, hit))
                    size += waiting[-1].size
                if len(waiting) >= MOST_WAITING or size >= MOST_BYTES_WAITING:
                    break
        tree = before.copy()
        await asyncio.to_thread(tree.extend, hashes)
        return _Stretch(before=before, tree=tree, hashes=hashes, waiting=waiting, timestamp=timestamp)

    async def _waiting(self, block: Block, hit: Hit) -> _Waiting:
        beside = None
        if hit.entry is not None:
            with suppress(Malformed):
                beside = await self.source.beside(
                    block, hit.position, is_precertificate=hit.entry.is_precertificate
                )
        return _Waiting(
            index=block.first + hit.position, leaf=block.leaves[hit.position], hit=hit, beside=beside
        )

    async def _proof(self, read: _Stretch, head: SignedHead) -> list[bytes] | None:
        """That what was read is the head's. None: it is not; the fault is told."""
        try:
            return await prove(self.source, read.tree, head)
        except ProofError as error:
            wrong = error
        source = self.source
        if isinstance(source, RFC6962Source) and self._is_hybrid:
            log.warning("ct_tiles_distrusted", log=self.log.name, at=read.before.size)
            source.distrust_tiles()
            return None
        if self.state.tree.size:
            # Is what was verified before in the new tree at all?
            try:
                await prove(source, self.state.tree, head)
            except ProofError as worse:
                heads = [each for each in (self.state.head, head) if each is not None]
                await self._fault("fork", str(worse), *heads)
                return None
        await self._fault("wrong-root", f"entries {read.before.size} to {read.tree.size - 1}: {wrong}", head)
        return None

    async def _tell_matches(self, read: _Stretch, head: SignedHead, proof: Sequence[bytes]) -> None:
        if not read.waiting:
            return
        stretch = Stretch(read.before, read.hashes)
        now = self.clock()
        for each in read.waiting:
            await self._judge_index(each, head)
            if each.hit.entry is not None:
                CT_MATCH_DELAY.observe(max(0.0, now.timestamp() - each.hit.entry.timestamp / 1000))
            found = observation(
                self.log,
                each.index,
                each.hit.entry,
                each.leaf,
                each.beside,
                each.hit.matches,
                seen_at=now,
                head=head,
                tree_size=read.tree.size,
                path=stretch.audit_path(each.index),
                consistency=proof,
            )
            if self.allowance is not None and each.hit.entry is not None and found.chain:
                leaf = await asyncio.to_thread(der.read, found.chain[0])
                more = await self.allowance.facts(leaf, each.hit.entry, now)
                found = replace(found, facts={**found.facts, **more})
            await self.tell(found)

    async def _judge_index(self, each: _Waiting, head: SignedHead) -> None:
        """By the index in its timestamp an entry is found (static-ct-api, "Extensions"): another one hides it from who asks."""
        if self.log.kind != "static" or each.hit.entry is None:
            return
        try:
            said = leaf_index(each.hit.entry.extensions)
        except Malformed as error:
            await self._fault("wrong-index", f"entry {each.index}: {error}", head)
            return
        if said is not None and said != each.index:
            await self._fault("wrong-index", f"entry {each.index} says that it is entry {said}", head)

    async def _fault(self, kind: FaultKind, detail: str, *heads: SignedHead) -> None:
        await self._add(
            Fault(
                kind=kind,
                at=rfc3339(self.clock()),
                detail=f"{self.log.url}: {detail}"[:500],
                heads=tuple(each.to_json() for each in heads),
            )
        )

    async def _add(self, fault: Fault) -> None:
        CT_FAULTS.labels(self.log.name, fault.kind).inc()
        log.error("ct_log_misbehaves", log=self.log.name, kind=fault.kind, detail=fault.detail)
        self.state = self.state.with_fault(fault)
        await self.tell_state()

    async def _caught_up(self, head: SignedHead) -> None:
        # Everything up to the head is read: nothing is older than it.
        final = self.log.final
        self.state = replace(
            self.state,
            head=head,
            read_at=rfc3339(min(head.at, self.clock())),
            slow="",
            is_finished=final is not None and self.state.tree.size >= final.size,
        )
        await self.tell_state()

    async def _look_back(self, head: SignedHead) -> bool:
        """Names that were added since: look for them in what was read before they were. True: there is more."""
        while (rescan := self.state.rescan) is not None and self.rescan_sieve is not None:
            if self.is_over():
                return True
            if rescan.tree.size >= rescan.until:
                log.info("ct_rescan_done", log=self.log.name, until=rescan.until)
                self.state = replace(self.state, rescan=None)
            else:
                by_tiles = self._is_hybrid
                read = await self._read(rescan.tree, rescan.until, head, self.rescan_sieve)
                proof = await self._proof(read, head)
                if proof is None:
                    if by_tiles and not self._is_hybrid:
                        continue
                    return False
                await self._tell_matches(read, head, proof)
                rescan = Rescan(items=rescan.items, tree=read.tree, until=rescan.until)
                self.state = replace(self.state, rescan=rescan)
            await self.tell_state()
        return False

    async def tell_state(self) -> None:
        state, name = self.state, self.log.name
        CT_SIZE.labels(name).set(state.tree.size)
        if state.head is not None:
            CT_BEHIND.labels(name).set(max(0, state.head.size - state.tree.size))
        if state.is_finished:
            # Nothing comes any more: its age is no lag.
            with suppress(KeyError):
                CT_READ_TIME.remove(name)
        elif state.read_at is not None:
            CT_READ_TIME.labels(name).set(datetime.fromisoformat(state.read_at).timestamp())
        if state.is_begun or state.faults:
            await self.tell(
                Observation(
                    location=log_location(self.log),
                    observed_at=self.clock(),
                    facts=to_facts(state, self.log),
                    scope=LOGS,
                )
            )

    async def tell_error(self, error: LookError) -> None:
        await self.tell(
            Observation(location=log_location(self.log), observed_at=self.clock(), error=error, scope=LOGS)
        )
