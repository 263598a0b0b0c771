"""Notices that the wall clock was set: it and the monotonic one no longer agree."""

import asyncio
from collections.abc import Callable

from certwatch.model.clock import Clock
from certwatch.telemetry.logs import get_logger

log = get_logger(__name__)

#: How often the two are compared.
INTERVAL_SECONDS = 30.0
#: Less than this is slewing, leap seconds and load.
TOLERANCE_SECONDS = 5.0


class ClockWatch:
    """Compares now with now; owned by one task. After a suspend the wall clock is ahead too: that is a jump."""

    def __init__(self, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._offset = self._measure()

    def _measure(self) -> float:
        return self._clock().timestamp() - self._monotonic()

    def jumped(self) -> float:
        """Seconds that the wall clock jumped since the last call, negative: back. 0: it did not."""
        offset = self._measure()
        jump, self._offset = offset - self._offset, offset
        return jump if abs(jump) > TOLERANCE_SECONDS else 0.0

    async def run(self, told: Callable[[float], None]) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            jump = self.jumped()
            if jump:
                log.warning("clock_jumped", seconds=round(jump, 1))
                told(jump)
