"""What a worker does with a shard: run the collector on its part, hand in what it sees as it sees it, and say how it ended."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from traceback import format_exception
from typing import Protocol

from certwatch.config.mistakes import ConfigError
from certwatch.engine.assemble import collector_job
from certwatch.engine.batches import Batches
from certwatch.engine.collect import SCAN_LIMIT
from certwatch.engine.counted import Counted
from certwatch.engine.listen import Heard, listen
from certwatch.inventory.shards import Claimed, MissingBatchError, SupersededError
from certwatch.inventory.store import InventoryError, Recorded
from certwatch.model.clock import Clock
from certwatch.model.observation import LookError, Observation
from certwatch.plugins.collector import CollectorContext, Part
from certwatch.plugins.guard import PluginFailed, guard
from certwatch.plugins.view import InventoryView
from certwatch.telemetry.logs import get_logger
from certwatch.zones.outcome import Outcome, Targets, failure, outcome_of
from certwatch.zones.spec import Spec, read_spec, settings_of

log = get_logger(__name__)

#: For what was seen before a shard was lost, or its worker told to stop, to be handed in.
LAST_WORDS_SECONDS = 5.0


class Desk(Protocol):
    """Where a worker hands in what it saw. Each call comes back when it is kept, whatever it takes; cancelling it is the end
    of waiting."""

    async def record(
        self, given: Claimed, number: int, batch: Sequence[Observation], labels: Mapping[str, str]
    ) -> Recorded | None:
        """The claim's batch of this number, from 1. None: it was recorded before. Raises
        SupersededError, MissingBatchError, InventoryError."""
        ...

    async def finish(self, given: Claimed, outcome: Outcome) -> None:
        """Raises SupersededError, MissingBatchError, InventoryError."""
        ...

    async def release(self, given: Claimed, *, failed: bool = False) -> None:
        """It was not brought to its end. `failed`: it counts as lost, so that it is not tried for ever. Raises
        InventoryError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What a worker has where it is."""

    env: Mapping[str, str]
    clock: Clock
    #: None: it cannot read the inventory.
    view: InventoryView | None = None


@dataclass(slots=True)
class _Told:
    """Targets that the collector was to look at, by list. Owned by one shard's task."""

    targets: dict[str, Targets] = field(default_factory=dict)

    def take(self, source: str, expected: int, seen: int) -> None:
        self.targets[source] = Targets(expected=expected, seen=seen)


async def perform(given: Claimed, desk: Desk, place: Workplace, lost: asyncio.Event) -> None:
    """To its end; or until `lost` is set or this is cancelled: then what was seen is handed in, and the shard is given back.
    Raises nothing but CancelledError."""
    where: dict[str, object] = {
        "shard": given.shard,
        "scan": given.scan,
        "part": given.part + 1,
        "parts": given.parts,
    }
    try:
        spec = read_spec(given.spec)
        where["collector"] = spec.name
        log.info("shard_started", **where)
        outcome = await _look(given, spec, desk, place, lost)
        if outcome is not None:
            await desk.finish(given, outcome)
            failed = "" if outcome.failed is None else outcome.failed.message
            log.info("shard_finished", error=failed, **where)
            return
        log.warning("shard_lost", **where)
        await desk.release(given)
    except asyncio.CancelledError:
        log.info("shard_given_back", **where)
        with suppress(InventoryError, SupersededError, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await desk.release(given)
        raise
    except SupersededError:
        log.warning("shard_superseded", **where)
        # The desk keeps nothing of it any more, and says why if it knows.
        with suppress(InventoryError):
            await desk.release(given)
    except MissingBatchError as error:
        log.warning("shard_not_whole", error=str(error), **where)
        with suppress(InventoryError):
            await desk.release(given)
    except ConfigError as error:
        why = LookError(kind="other", message=f"a worker cannot do it: {'; '.join(error.messages)}")
        log.error("shard_refused", error=why.message, **where)
        with suppress(InventoryError, SupersededError):
            await desk.finish(given, failure(why))
    except InventoryError as error:
        log.error("shard_not_recorded", error=error.message, **where)
        with suppress(InventoryError):
            await desk.release(given, failed=True)
    except Exception as error:
        # A fault of ours: the part must not stand as this worker's for ever.
        log.error("shard_crashed", error=repr(error), frames="".join(format_exception(error)), **where)
        with suppress(InventoryError):
            await desk.release(given, failed=True)


async def _look(
    given: Claimed, spec: Spec, desk: Desk, place: Workplace, lost: asyncio.Event
) -> Outcome | None:
    """None: it was lost. Raises ConfigError, SupersededError, InventoryError; cancelled, it hands in first."""
    settings = await asyncio.to_thread(settings_of, spec, place.env)
    told = _Told()
    context = CollectorContext(
        clock=place.clock,
        view=place.view,
        part=Part(index=given.part, count=given.parts),
        tell_targets=told.take,
    )
    try:
        with guard("collectors", spec.kind):
            collector = collector_job(settings, context).build()
    except PluginFailed as error:
        return failure(LookError(kind="other", message=f"{spec.name}: {error}"))
    heard, batches, counted = Heard(), Batches(), Counted()
    recording = asyncio.create_task(_hand_in(given, spec, desk, batches, counted))
    listening = asyncio.create_task(listen(spec.name, spec.kind, collector, batches, recording, heard))
    losing = asyncio.create_task(lost.wait())
    try:
        await asyncio.wait(
            {listening, recording, losing},
            timeout=SCAN_LIMIT.total_seconds(),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if listening.done():
            listening.result()
            batches.end()
            # The rest may take as long as the shard is this worker's.
            await asyncio.wait({recording, losing}, return_when=asyncio.FIRST_COMPLETED)
        if recording.done():
            recording.result()
        if listening.done() and recording.done():
            return outcome_of(heard, counted, told.targets, recording.result())
        return None
    finally:
        losing.cancel()
        listening.cancel()
        await asyncio.wait({listening})
        batches.end()
        if not recording.done():
            await asyncio.wait({recording}, timeout=LAST_WORDS_SECONDS)
            recording.cancel()
            await asyncio.wait({recording})
        if not recording.cancelled():
            recording.exception()


async def _hand_in(given: Claimed, spec: Spec, desk: Desk, batches: Batches, counted: Counted) -> int:
    """How many batches it was."""
    number = 0
    try:
        while batch := await batches.take():
            number += 1
            done = await desk.record(given, number, batch, spec.labels)
            if done is not None:
                more = Counted.of(batch, done.nothing_there)
                counted.outcomes.update(more.outcomes)
                counted.handshakes += more.handshakes
        return number
    finally:
        batches.refuse()


class Lost:
    """Which shards a worker has, and which of them it has lost. Owned by the event loop's thread."""

    def __init__(self, monotonic: Callable[[], float], lease_seconds: float) -> None:
        self._monotonic = monotonic
        self._lease = lease_seconds
        self._events: dict[tuple[int, int], asyncio.Event] = {}
        #: What was this worker's by the database's last word, and not by its own.
        self._strange: frozenset[tuple[int, int]] = frozenset()
        self._kept_at = monotonic()

    def hold(self, given: Claimed) -> asyncio.Event:
        """Set when it is lost."""
        event = self._events[given.shard, given.claim] = asyncio.Event()
        return event

    def drop(self, given: Claimed) -> None:
        self._events.pop((given.shard, given.claim), None)

    def kept(self, since: float, still: frozenset[tuple[int, int]], held: frozenset[tuple[int, int]]) -> None:
        """Asked at the instant `since`, the database says what is still this worker's of what it `held` then."""
        self._kept_at = since
        for each in held - still:
            if each in self._events:
                self._events[each].set()

    def use(self, lease_seconds: float) -> None:
        self._lease, self._kept_at = lease_seconds, self._monotonic()

    def lose(self, shard: int, claim: int) -> None:
        if (shard, claim) in self._events:
            self._events[shard, claim].set()

    def orphans(
        self, still: frozenset[tuple[int, int]], pending: frozenset[tuple[int, int]] = frozenset()
    ) -> frozenset[tuple[int, int]]:
        """What the database took for this worker's twice in a row, and it knows nothing of: the answer to its claim was lost.
        `pending`: what it has still to hand in."""
        strange = still - self.held() - pending
        orphans, self._strange = strange & self._strange, strange
        return orphans

    def held(self) -> frozenset[tuple[int, int]]:
        return frozenset(self._events)

    def expire(self) -> bool:
        """Everything is lost if the database has not been heard of for a lease, by the clock of this machine: it was paused,
        or cut off, and others may do its work by now."""
        held = [event for event in self._events.values() if not event.is_set()]
        if self._monotonic() - self._kept_at <= self._lease or not held:
            return False
        for event in held:
            event.set()
        return True
