"""How far a log is read and verified: facts of the log's own location, so that they stand in the inventory exactly if what was
read does."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Literal

import msgspec

from certwatch.ct.heads import SignedHead, parse_sth
from certwatch.ct.log_list import Log
from certwatch.ct.malformed import Malformed
from certwatch.ct.merkle import Tree
from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact

FaultKind = Literal[
    "fork", "rollback", "wrong-root", "bad-signature", "past-mmd", "from-the-future", "grows", "wrong-index"
]
#: Proven for good: the log has signed what contradicts itself.
PROVEN: frozenset[str] = frozenset(("fork", "rollback", "grows", "wrong-index"))
MOST_FAULTS = 8
MAX_DETAIL = 500


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a log must not do, with what proves it."""

    kind: FaultKind
    #: RFC 3339.
    at: str
    detail: str
    #: Signed heads that contradict one another, or the one that is wrong, as `get-sth` has them.
    heads: tuple[dict[str, str | int], ...] = ()
    #: Hashes by which the log would have it proven, base64.
    proof: tuple[str, ...] = ()


class _Rescan(msgspec.Struct):
    items: list[str]
    position: int
    until: int
    peaks: list[bytes]


class _Mark(msgspec.Struct):
    size: int
    peaks: list[bytes]
    start: int = 0
    start_peaks: list[bytes] = []
    head: dict[str, str | int] | None = None
    rescan: _Rescan | None = None
    #: Of all that and the faults: a state in which one bit is another would have us accuse the log. Empty: by an older certwatch.
    sum: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescan:
    """Names that came to the watch list later, being looked for in what was read before."""

    items: tuple[str, ...]
    #: Read and verified up to here.
    tree: Tree
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    #: All entries before its size are read and verified.
    tree: Tree = field(default_factory=Tree)
    #: The tree before the first entry that was read: reading began behind it.
    begin: Tree = field(default_factory=Tree)
    #: The newest head that was verified, and is consistent with all before it. None: none yet.
    head: SignedHead | None = None
    #: Of the last entry read, RFC 3339. None: none was.
    read_at: str | None = None
    faults: tuple[Fault, ...] = ()
    rescan: Rescan | None = None
    #: Why it cannot be kept up with, in words and numbers. Empty: it can.
    slow: str = ""
    #: True: a log that grows no more, and is read to its end.
    is_finished: bool = False
    #: False: nothing was read or saved yet.
    is_begun: bool = False

    def with_fault(self, fault: Fault) -> "LogState":
        """The first of each kind is kept: it has the evidence nearest to the cause."""
        if any(each.kind == fault.kind for each in self.faults):
            return self
        return replace(self, faults=(*self.faults, fault)[:MOST_FAULTS])

    def without_faults(self, *kinds: str) -> "LogState":
        kept = tuple(each for each in self.faults if each.kind not in kinds)
        return self if len(kept) == len(self.faults) else replace(self, faults=kept)


def log_location(log: Log) -> LocationURI:
    return LocationURI(f"ct-log://{log.name}")


def entry_location(log: Log, index: int) -> LocationURI:
    return LocationURI(f"ct://{log.name}/{index}")


def to_facts(state: LogState, log: Log) -> dict[str, Fact]:
    mark = _Mark(
        size=state.tree.size,
        peaks=state.tree.peaks,
        start=state.begin.size,
        start_peaks=state.begin.peaks,
        head=state.head.to_json() if state.head is not None else None,
        rescan=None
        if state.rescan is None
        else _Rescan(
            items=list(state.rescan.items),
            position=state.rescan.tree.size,
            until=state.rescan.until,
            peaks=state.rescan.tree.peaks,
        ),
    )
    faults = msgspec.json.encode(state.faults).decode() if state.faults else ""
    mark = msgspec.structs.replace(mark, sum=_sum(mark, faults))
    facts: dict[str, Fact] = {
        "ct_log": log.description,
        "ct_operator": log.operator,
        "ct_kind": log.kind,
        "ct_log_state": log.state,
        "ct_start": state.begin.size,
        "ct_size": state.tree.size,
        "ct_mark": msgspec.json.encode(mark).decode(),
        "ct_finished": state.is_finished,
        "ct_log_key": base64.b64encode(log.key.der).decode(),
    }
    if state.head is not None:
        facts["ct_head_size"] = state.head.size
        facts["ct_head_at"] = rfc3339(state.head.at)
    if state.read_at is not None:
        facts["ct_read_at"] = state.read_at
    if state.slow:
        facts["ct_slow"] = state.slow
    if faults:
        facts["ct_faults"] = faults
    return facts


def _sum(mark: _Mark, faults: str) -> str:
    said = msgspec.json.encode(msgspec.structs.replace(mark, sum="")) + faults.encode()
    return sha256(said).hexdigest()[:16]


def from_facts(facts: Mapping[str, Fact]) -> LogState | None:
    """None: what is there cannot be used, so that the log is begun anew."""
    try:
        mark = msgspec.json.decode(str(facts.get("ct_mark")), type=_Mark)
        text = str(facts.get("ct_faults") or "")
        faults = msgspec.json.decode(text or "[]", type=tuple[Fault, ...])
        if mark.sum and mark.sum != _sum(mark, text):
            raise ValueError("another sum")
        head = parse_sth(msgspec.json.encode(mark.head)) if mark.head is not None else None
        begin = _tree(mark.start, mark.start_peaks)
        tree = _tree(mark.size, mark.peaks)
        rescan = None
        if mark.rescan is not None:
            rescan = Rescan(
                items=tuple(mark.rescan.items),
                tree=_tree(mark.rescan.position, mark.rescan.peaks),
                until=mark.rescan.until,
            )
    except (msgspec.MsgspecError, Malformed, binascii.Error, ValueError, RecursionError):
        return None
    read_at = facts.get("ct_read_at")
    return LogState(
        tree=tree,
        begin=begin,
        head=head,
        read_at=read_at if isinstance(read_at, str) else None,
        faults=faults,
        rescan=rescan,
        slow=str(facts.get("ct_slow") or ""),
        is_finished=facts.get("ct_finished") is True,
        is_begun=True,
    )


def _tree(size: int, peaks: list[bytes]) -> Tree:
    if size < 0 or size.bit_count() != len(peaks) or any(len(each) != 32 for each in peaks):
        raise ValueError("no tree")
    return Tree(size, peaks)


def rfc3339(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
