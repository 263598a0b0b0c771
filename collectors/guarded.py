"""One part of a service's world, looked at: what fails is one error of that part."""

import traceback
from collections.abc import AsyncIterator

from certwatch.doors.json_api import RestError
from certwatch.model.observation import Incomplete, LookError, Observation
from certwatch.telemetry.logs import get_logger

log = get_logger(__name__)

#: What a look at an API ends in: it is not to be had, or answers otherwise than it is known to.
FAILURES = (RestError, AttributeError, KeyError, TypeError, ValueError)


def told(failure: Exception, *, where: str, grant: str = "") -> LookError:
    """One of FAILURES in words. `grant`: what to do where permission is missing."""
    if isinstance(failure, RestError):
        hint = f" {grant}" if grant and failure.kind == "permission" else ""
        return LookError(kind=failure.kind, message=f"{where}: {failure.message}{hint}")
    frames = "".join(traceback.format_tb(failure.__traceback__)[-3:])
    log.warning("answer_unexpected", where=where, frames=frames)
    return LookError(kind="malformed", message=f"{where}: answers in an unexpected form ({failure!r:.100})")


async def guarded(
    look: AsyncIterator[Observation], *, where: str, scope: str, grant: str
) -> AsyncIterator[Observation | Incomplete]:
    """What is seen, and an Incomplete for whatever of it cannot be."""
    try:
        async for each in look:
            yield each
    except FAILURES as failure:
        yield Incomplete(scope=scope, error=told(failure, where=where, grant=grant))
