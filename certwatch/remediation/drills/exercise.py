"""What was done, what was expected, and when it came: values and waiting."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from certwatch.remediation.world import World

ScenarioName = Literal["expired-certificate", "half-deployed", "ocsp-outage", "ca-compromised"]
SCENARIOS: tuple[ScenarioName, ...] = (
    "expired-certificate",
    "half-deployed",
    "ocsp-outage",
    "ca-compromised",
)
#: Between two looks at what the daemon has found out.
POLL_SECONDS = 0.5


class DrillFailed(Exception):
    """What was expected did not come. It was put back; the report says what came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    at: datetime
    #: done: by the exercise. seen: it was waited for, and came. missed: it did not come in time. noted: people should know.
    kind: Literal["done", "seen", "missed", "noted"]
    what: str
    #: It was waited for so long. None: it was not waited for.
    seconds: float | None = None


@dataclass(kw_only=True)
class Exercise:
    """One run. Belongs to the event loop."""

    world: World
    scenario: ScenarioName
    #: As key and value.
    label: tuple[str, str]
    #: For everything that is waited for, together.
    within: timedelta
    tell: Callable[[str], None] = lambda text: None
    entries: list[Entry] = field(default_factory=list)
    about: str = ""
    _until: float = field(init=False)

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.within.total_seconds()

    def done(self, what: str) -> None:
        self._add(Entry(at=self.world.clock(), kind="done", what=what))

    def noted(self, what: str) -> None:
        """Once each."""
        if not any(each.what == what for each in self.entries):
            self._add(Entry(at=self.world.clock(), kind="noted", what=what))

    async def expect(self, what: str, came: Callable[[], bool]) -> None:
        """Wait for it; `came` may block. Raises DrillFailed."""
        began = time.monotonic()
        while not await asyncio.to_thread(came):
            if time.monotonic() > self._until:
                self._add(Entry(at=self.world.clock(), kind="missed", what=what))
                raise DrillFailed(f"{what}: did not come within {self.within.total_seconds():g} s")
            await asyncio.sleep(POLL_SECONDS)
        seconds = time.monotonic() - began
        self._add(Entry(at=self.world.clock(), kind="seen", what=what, seconds=seconds))

    def missed(self, what: str) -> None:
        self._add(Entry(at=self.world.clock(), kind="missed", what=what))

    def _add(self, entry: Entry) -> None:
        self.entries.append(entry)
        waited = f" (after {entry.seconds:.1f} s)" if entry.seconds is not None else ""
        self.tell(f"{entry.kind}: {entry.what}{waited}")

    @property
    def passed(self) -> bool:
        return any(each.kind == "seen" for each in self.entries) and not any(
            each.kind == "missed" for each in self.entries
        )

    @property
    def seconds(self) -> float:
        return (self.entries[-1].at - self.entries[0].at).total_seconds() if self.entries else 0.0
