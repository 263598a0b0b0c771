"""How one shard ended, and what all of them together say of their scan. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

import msgspec

from certwatch.engine.counted import Counted
from certwatch.engine.listen import Heard
from certwatch.inventory.shards import Ended
from certwatch.model.observation import ErrorKind, Incomplete, LookError

#: Incomplete scopes that a shard names; with more, its whole part is.
MAX_INCOMPLETE = 1_000
#: Handshakes that a shard tells one by one.
MAX_HANDSHAKES = 20_000
MAX_BYTES = 4 << 20
#: Of one error.
MAX_TEXT = 64 << 10

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]


class Fault(msgspec.Struct, frozen=True):
    kind: ErrorKind
    message: Text
    scope: Text = ""


class Targets(msgspec.Struct, frozen=True):
    """Of one list of targets."""

    expected: int
    seen: int


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    #: Why it came to nothing. None: it did not.
    failed: Fault | None = None
    incomplete: list[Fault] = []
    unchanged: list[str] = []
    continued: dict[str, Annotated[datetime, msgspec.Meta(tz=True)]] = {}
    outcomes: dict[str, int] = {}
    handshakes: list[float] = []
    targets: dict[str, Targets] = {}
    #: What was handed in before.
    batches: Annotated[int, msgspec.Meta(ge=0, le=1 << 31)] = 0

    @property
    def kept(self) -> int | None:
        """How many batches must be there. None: it came to nothing, whatever is."""
        return None if self.failed is not None else self.batches


def outcome_of(heard: Heard, counted: Counted, targets: Mapping[str, Targets], batches: int) -> Outcome:
    incomplete = heard.incomplete
    if len(incomplete) > MAX_INCOMPLETE:
        incomplete = [*incomplete[:MAX_INCOMPLETE], Incomplete(scope="", error=incomplete[0].error)]
    return Outcome(
        failed=None if heard.failed is None else _fault(heard.failed),
        incomplete=[_fault(each.error, each.scope) for each in incomplete],
        unchanged=sorted(heard.unchanged),
        continued=dict(heard.continued),
        outcomes={each: count for each, count in counted.outcomes.items() if count},
        handshakes=[round(each, 6) for each in counted.handshakes[:MAX_HANDSHAKES]],
        targets=dict(targets),
        batches=batches,
    )


def failure(error: LookError) -> Outcome:
    return Outcome(failed=_fault(error))


def encode(outcome: Outcome) -> str:
    return msgspec.json.encode(outcome).decode("utf-8", "replace")


def decode(text: str | bytes) -> Outcome:
    """Raises msgspec.MsgspecError."""
    return msgspec.json.decode(text, type=Outcome)


def _fault(error: LookError, scope: str = "") -> Fault:
    return Fault(kind=error.kind, message=_sound(error.message)[:MAX_TEXT], scope=_sound(scope)[:MAX_TEXT])


def _sound(text: str) -> str:
    # What came from file names need not be UTF-8.
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(slots=True)
class Together:
    """What a scan's shards say of it: the arguments of `Writer.finish_scan`."""

    failed: LookError | None = None
    incomplete: list[Incomplete] = field(default_factory=list)
    unchanged: set[str] = field(default_factory=set)
    continued: dict[str, datetime] = field(default_factory=dict)
    counted: Counted = field(default_factory=Counted)
    targets: dict[str, Targets] = field(default_factory=dict)
    #: How parts ended: "complete", "partial", "failed", "lost".
    parts: Counter[str] = field(default_factory=Counter)


def together(ended: Sequence[Ended]) -> Together:
    """Of a failed part, or one that nobody brought to its end, nothing is known: then nothing at all may be retired. The scan
    fails if no part came to anything."""
    result = Together()
    failures: list[LookError] = []
    by_worker: dict[int | None, list[Outcome]] = defaultdict(list)
    for each in ended:
        outcome = _read(each)
        result.parts[_status(each, outcome)] += 1
        by_worker[each.worker].append(outcome)
        if outcome.failed is not None:
            where = f"part {each.part + 1} of {len(ended)}: " if len(ended) > 1 else ""
            failures.append(LookError(kind=outcome.failed.kind, message=where + outcome.failed.message))
        result.incomplete += (
            Incomplete(scope=fault.scope, error=LookError(kind=fault.kind, message=fault.message))
            for fault in outcome.incomplete
        )
        result.counted.outcomes.update(outcome.outcomes)
        result.counted.handshakes += outcome.handshakes
        for source, told in outcome.targets.items():
            former = result.targets.get(source, Targets(expected=0, seen=0))
            result.targets[source] = Targets(
                expected=former.expected + told.expected, seen=former.seen + told.seen
            )
        if len(ended) == 1:
            result.continued = dict(outcome.continued)
        else:
            # Each part begins anew: what was begun earlier says nothing of the whole.
            result.unchanged |= set(outcome.continued)
    for outcomes in by_worker.values():
        # A part in which nobody was met may be an empty one; a worker that met nobody at all has no way out.
        if all(each.unchanged for each in outcomes):
            result.unchanged |= {scope for each in outcomes for scope in each.unchanged}
    if not ended or len(ended) != ended[0].parts:
        # A server that took over was behind, and knows nothing of it any more.
        result.failed = LookError(
            kind="other", message="the database has lost parts of it: nothing was retired"
        )
    elif len(failures) == len(ended):
        result.failed = failures[0]
    else:
        result.incomplete += (Incomplete(scope="", error=each) for each in failures)
    result.incomplete = _once(result.incomplete)
    return result


def _status(ended: Ended, outcome: Outcome) -> str:
    if ended.outcome is None:
        return "lost"
    return "failed" if outcome.failed is not None else "partial" if outcome.incomplete else "complete"


def _read(ended: Ended) -> Outcome:
    if ended.outcome is None:
        return Outcome(
            failed=Fault(
                kind="other",
                message="given up: every worker that took it fell silent. See their logs",
            )
        )
    try:
        return decode(ended.outcome)
    except msgspec.MsgspecError as error:
        return Outcome(
            failed=Fault(
                kind="other",
                message=f"its worker's word cannot be read ({error}). Run the same version everywhere",
            )
        )


def _once(incomplete: Sequence[Incomplete]) -> list[Incomplete]:
    """Each scope with its first error: every part asks the same lists of targets."""
    first: dict[str, Incomplete] = {}
    for each in incomplete:
        first.setdefault(each.scope, each)
    return list(first.values())
