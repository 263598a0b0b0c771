"""A new head, held against what is known of its log."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from certwatch.ct.heads import SignedHead
from certwatch.ct.log_list import Log
from certwatch.ct.merkle import ProofError, Tree, verify_consistency
from collectors.ct.source import LogError, LogSource
from collectors.ct.state import Fault, FaultKind, LogState, rfc3339

#: Clocks differ.
GRACE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    state: LogState
    #: To be read up to. None: nothing is, as long as this holds.
    head: SignedHead | None
    faults: tuple[Fault, ...] = ()
    #: Older than the log may let its head become.
    is_late: bool = False
    #: Of an instant that has not come.
    is_ahead: bool = False


async def prove(source: LogSource, tree: Tree, head: SignedHead) -> list[bytes]:
    """That `tree` is the beginning of the head's: the proof. Raises ProofError, LogError."""
    if tree.size == head.size:
        if tree.root != head.root:
            raise ProofError(f"they make another root for {head.size} entries than the signed one")
        return []
    proof = await source.consistency(tree.size, head)
    verify_consistency(tree.size, head.size, tree.root, head.root, proof)
    return proof


async def judge_head(
    log: Log,
    source: LogSource,
    state: LogState,
    found: SignedHead,
    now: datetime,
    *,
    is_clock_wrong: bool = False,
) -> Verdict:
    """`found` is signed. `is_clock_wrong`: ours, so that it says nothing of the head's age. Raises LogError: what must be proven cannot be asked now."""
    known = state.head
    faults: list[Fault] = []

    def fault(kind: FaultKind, detail: str, *heads: SignedHead, proof: Sequence[bytes] = ()) -> None:
        faults.append(
            Fault(
                kind=kind,
                at=rfc3339(now),
                detail=f"{log.url}: {detail}",
                heads=tuple(each.to_json() for each in heads),
                proof=tuple(base64.b64encode(each).decode() for each in proof),
            )
        )

    is_ahead = not is_clock_wrong and found.at > now + GRACE
    if is_ahead:
        fault(
            "from-the-future",
            f"its newest head is of {rfc3339(found.at)}, and it is {rfc3339(now)} here: such a log need not renew it",
            found,
        )
    is_late = (
        not is_clock_wrong
        and log.state in ("pending", "qualified", "usable")
        and now - found.at > log.mmd + GRACE
    )
    if is_late:
        fault(
            "past-mmd",
            f"its newest head is of {rfc3339(found.at)}, older than its maximum merge delay of {log.mmd}",
            found,
        )
    final = log.final
    if final is not None and found.size > final.size:
        fault(
            "grows", f"it has {found.size} entries, and its operator said that it ends at {final.size}", found
        )
    elif final is not None and found.size == final.size and found.root != final.root:
        fault("fork", f"its last head of {found.size} entries has another root than its operator said", found)
        return Verdict(state=state, head=None, faults=tuple(faults), is_late=is_late, is_ahead=is_ahead)
    if known is None:
        return Verdict(state=state, head=found, faults=tuple(faults), is_late=is_late, is_ahead=is_ahead)
    if found.size == known.size:
        if found.root != known.root:
            fault("fork", f"two heads of {found.size} entries with different roots", known, found)
            return Verdict(state=state, head=None, faults=tuple(faults), is_late=is_late, is_ahead=is_ahead)
        return Verdict(state=state, head=found, faults=tuple(faults), is_late=is_late, is_ahead=is_ahead)
    small, large = (found, known) if found.size < known.size else (known, found)
    if found is small and found.timestamp > known.timestamp:
        fault(
            "rollback",
            f"a head of {found.size} entries at {rfc3339(found.at)}, after one of {known.size} at {rfc3339(known.at)}",
            known,
            found,
        )
        return Verdict(state=state, head=None, faults=tuple(faults), is_late=is_late, is_ahead=is_ahead)
    if found is large and state.tree.size == known.size:
        # All of `known` was read: reading on proves it, without another request.
        return Verdict(state=state, head=found, faults=tuple(faults), is_late=is_late, is_ahead=is_ahead)
    proof: list[bytes] = []
    try:
        proof = await source.consistency(small.size, large)
        verify_consistency(small.size, large.size, small.root, large.root, proof)
    except ProofError as error:
        fault("fork", f"heads of {small.size} and {large.size} entries: {error}", small, large, proof=proof)
        return Verdict(state=state, head=None, faults=tuple(faults), is_late=is_late, is_ahead=is_ahead)
    except LogError:
        if found is large:
            raise
    # An older one is a frontend's that lags behind; what was verified is read on with.
    return Verdict(state=state, head=large, faults=tuple(faults), is_late=is_late, is_ahead=is_ahead)
