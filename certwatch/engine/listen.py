"""What a collector says, taken as it says it: looks into batches, the rest remembered for the scan's end."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from certwatch.engine.batches import Batches
from certwatch.model.observation import Continued, Incomplete, LookError, Observation, Unchanged
from certwatch.plugins.collector import CollectError, Collector
from certwatch.plugins.guard import PluginFailed, guard

#: A collector releases everything within a second of being closed (its promise); this is when we go on without.
CLOSE_SECONDS = 1.2
#: Incomplete scopes that are kept one by one; beyond it the whole scan counts as incomplete.
MAX_INCOMPLETE = 10_000
_SAID = (Observation, Incomplete, Unchanged, Continued)


@dataclass(slots=True)
class Heard:
    """What one run has said so far, its looks apart. Owned by its task."""

    incomplete: list[Incomplete] = field(default_factory=list)
    #: Scopes of which only what is new was told.
    unchanged: set[str] = field(default_factory=set)
    #: Scopes whose way began in an earlier scan, and when.
    continued: dict[str, datetime] = field(default_factory=dict)
    #: Why the run as a whole came to nothing. None: so far it did not.
    failed: LookError | None = None


async def listen(
    name: str, kind: str, collector: Collector, batches: Batches, recording: asyncio.Task[Any], heard: Heard
) -> None:
    """Everything that the collector says goes to `batches` and `heard`. Ends early when recording has ended."""
    stream: AsyncIterator[Any] | None = None
    try:
        # Around each of a million calls: made once.
        guarded = guard("collectors", kind)
        with guarded:
            stream = collector.collect()
        while not recording.done():
            with guarded:
                try:
                    said = await anext(stream)
                except StopAsyncIteration:
                    return
                if not isinstance(said, _SAID):
                    raise TypeError(
                        f"yielded {type(said).__name__}, not Observation, Incomplete, Unchanged or Continued"
                    )
            if isinstance(said, Observation):
                if not batches.add(said):
                    await batches.has_room()
            elif isinstance(said, Unchanged):
                heard.unchanged.add(said.scope)
            elif isinstance(said, Continued):
                heard.continued[said.scope] = said.since
            elif len(heard.incomplete) < MAX_INCOMPLETE:
                heard.incomplete.append(said)
            else:
                heard.incomplete[-1] = Incomplete(scope="", error=said.error)
    except CollectError as error:
        heard.failed = LookError(kind=error.kind, message=error.message)
    except PluginFailed as error:
        heard.failed = LookError(kind="other", message=f"{name}: {error}. See the log; what it saw is kept")
    finally:
        if stream is not None:
            await _close(kind, stream)


async def _close(kind: str, stream: AsyncIterator[Any]) -> None:
    close = getattr(stream, "aclose", None)  # a generator has it, a plain iterator need not
    if close is None:
        return
    try:
        with guard("collectors", kind):
            async with asyncio.timeout(CLOSE_SECONDS):
                await close()
    except PluginFailed:
        pass  # logged and counted; the scan's end does not depend on it
