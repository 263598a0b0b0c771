"""How far a pass over the networks has come: kept in a file, so that it goes on after a restart."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from certwatch.model.clock import Clock
from certwatch.model.observation import Continued, Unchanged
from certwatch.telemetry.logs import get_logger
from collectors.tls.plan import Plan

log = get_logger(__name__)

_FILE = "pass.json"
_MAX_BYTES = 4096
#: Between two notes of how far it has come.
SAVE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One way through the networks of a collector, in one random order."""

    #: What is walked (`Plan.digest`).
    digest: str
    #: Of the random order.
    seed: int
    #: Everything before this step has been looked at.
    step: int
    #: When it began, aware UTC.
    began: datetime


class Walk:
    """One scan's part of a pass. Owned by one scan."""

    def __init__(self, plan: Plan, folder: Path | None, at: Pass, *, resumed: bool) -> None:
        self._plan = plan
        self._folder = folder
        self._pass = at
        self._resumed = resumed

    @classmethod
    async def begin(cls, plan: Plan, folder: Path | None, clock: Clock) -> "Walk":
        """Of the pass that was not ended, if it walks the same; else of a new one. Gives the plan that pass's order."""
        digest = await asyncio.to_thread(lambda: plan.digest)
        kept = await asyncio.to_thread(load, folder) if folder is not None else None
        if kept is not None and kept.digest == digest:
            plan.seed = kept.seed
            log.info("tls_pass_resumed", step=kept.step, began=kept.began.isoformat())
            return cls(plan, folder, kept, resumed=True)
        return cls(plan, folder, Pass(digest=digest, seed=plan.seed, step=0, began=clock()), resumed=False)

    @property
    def step(self) -> int:
        """Where to go on."""
        return self._pass.step

    async def keep(self, mark: Callable[[], int]) -> None:
        """Note how far it has come, until cancelled. Each time what was so the time before: what was seen until then
        has been recorded meanwhile."""
        if self._folder is None:
            return
        before = self._pass.step
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            await asyncio.to_thread(save, self._folder, replace(self._pass, step=before))
            before = mark()

    def end(self, *, has_met_anyone: bool) -> Iterator[Continued | Unchanged]:
        """What is to be said of the networks when the scan ends."""
        if not has_met_anyone:
            # Not one connection, nor a refusal: the way out is broken, and not everything gone.
            yield from (Unchanged(scope=target.text) for target in self._plan.wide)
        elif self._resumed and self._plan.is_walked:
            yield from (Continued(scope=target.text, since=self._pass.began) for target in self._plan.wide)

    async def close(self, mark: int) -> None:
        """The scan is over; all it saw was taken. `mark`: how far it came."""
        if self._folder is None:
            return
        if self._plan.is_walked:
            await asyncio.to_thread(end, self._folder)
        else:
            await asyncio.to_thread(save, self._folder, replace(self._pass, step=mark))


def load(folder: Path) -> Pass | None:
    """The pass that was not ended. Blocking. None: there is none, or what is there cannot be used: a new one begins."""
    try:
        with (folder / _FILE).open("rb") as file:
            said = json.loads(file.read(_MAX_BYTES))
        return _read(said)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("tls_pass_not_read", path=str(folder / _FILE), error=repr(error))
        return None


def _read(said: Mapping[str, Any]) -> Pass:
    found = Pass(
        digest=str(said["digest"]),
        seed=int(said["seed"]),
        step=int(said["step"]),
        began=datetime.fromisoformat(said["began"]),
    )
    if found.began.tzinfo is None or not 0 <= found.seed < 1 << 64 or found.step < 0:
        raise ValueError("not a pass")
    return found


def save(folder: Path, at: Pass) -> None:
    """Replaced as a whole. Blocking. What cannot be written is told: the pass then begins anew after a restart."""
    said = {"digest": at.digest, "seed": at.seed, "step": at.step, "began": at.began.isoformat()}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = folder / f"{_FILE}.new"
        fresh.write_text(json.dumps(said))
        os.replace(fresh, folder / _FILE)
    except OSError as error:
        log.warning("tls_pass_not_saved", path=str(folder / _FILE), error=str(error))


def end(folder: Path) -> None:
    """It is over: the next scan begins a new one. Blocking."""
    try:
        (folder / _FILE).unlink(missing_ok=True)
    except OSError as error:
        log.warning("tls_pass_not_removed", path=str(folder / _FILE), error=str(error))
