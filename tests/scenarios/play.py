"""Timed scripts on a simulated clock: what stands where from when on, and what certwatch says of it and when.

    play = Play(tmp_path)
    play.at(days=0).serve(PLACE, OLD)
    play.at(days=80).serve(PLACE, NEW)
    await play.run(days=90)
    play.expect("opened expiry tls://…", after=…, before=…)

The inventory, the engine's parts and the rules are the real ones; the world and the clock are the script's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from certwatch.config.load import read
from certwatch.engine.assemble import rule_set
from certwatch.engine.judge import RuleSet
from certwatch.model.observation import ErrorKind, Incomplete, LookError
from certwatch.plugins.testing import EPOCH, FakeClock, Issued, make_ca
from tests.engine.stage import Source, Stage, stage

ROOT = make_ca("Scenario Root", key_number=301)
ISSUER = make_ca("Scenario Issuer", issuer=ROOT, key_number=302)
PLACE = "tls://192.0.2.1:443/?sni=www.example.com"
OTHER = "tls://192.0.2.2:443/?sni=www.example.com"


@dataclass(frozen=True, slots=True)
class Moment:
    """What a script may do at an instant."""

    play: "Play"
    instant: datetime

    def _then(self, action: Callable[[], object]) -> None:
        self.play.script.append((self.instant, action))

    def serve(self, place: str, issued: Issued) -> None:
        self._then(lambda: self.play.source.serve(place, issued))

    def fail(self, place: str, kind: ErrorKind = "timeout") -> None:
        self._then(lambda: self.play.source.fail(place, kind))

    def remove(self, place: str) -> None:
        self._then(lambda: self.play.source.places.pop(place, None))

    def scans_raise(self, error: Exception | None) -> None:
        def set_it() -> None:
            self.play.source.raises = error

        self._then(set_it)

    def scans_are_incomplete(self, scope: str | None) -> None:
        def set_it() -> None:
            error = LookError(kind="permission", message="forbidden. Grant it")
            self.play.source.incomplete = [] if scope is None else [Incomplete(scope=scope, error=error)]

        self._then(set_it)

    def clock_jumps(self, **by: float) -> None:
        self._then(lambda: self.play.clock.advance(**by))

    def restart(self) -> None:
        """Between a scan and its judgement: whatever was in memory is gone."""
        self.play.restarts.add(self.instant)


class Play:
    def __init__(self, folder: Path, *, every: timedelta = timedelta(hours=1), rules: str = "") -> None:
        root = folder / "root.pem"
        root.write_bytes(ROOT.pem)
        self.folder = folder
        self.every = every
        self.clock = FakeClock()
        self.source = Source(self.clock)
        self.script: list[tuple[datetime, Callable[[], object]]] = []
        self.restarts: set[datetime] = set()
        #: When, and what the exporter was told.
        self.log: list[tuple[datetime, str]] = []
        self.rules: RuleSet = rule_set(read(f"trust: {{corp: {root}}}\n{rules}", env={"HOME": str(folder)}))

    def at(self, **since_start: float) -> Moment:
        return Moment(self, EPOCH + timedelta(**since_start))

    async def run(self, **until: float) -> None:
        """From the clock's present to that time since the start: scans every interval, judges after each and
        whenever something is due."""
        end = EPOCH + timedelta(**until)
        while self.clock.now <= end:
            async with stage(self.folder, self.clock, self.source) as life:
                life.evaluator.use(self.rules)
                if not await self._live(life, end):
                    break

    async def _live(self, life: Stage, end: datetime) -> bool:
        """One life: True if it ended by a restart."""
        next_scan = self.clock.now
        while True:
            due = life.next_due()
            step = min(next_scan, due) if due is not None else next_scan
            if max(step, self.clock.now) > end:
                await self._judge(life)
                self.clock.now = end + timedelta(microseconds=1)
                return False
            self.clock.now = max(step, self.clock.now)
            for instant, action in [each for each in self.script if each[0] <= self.clock.now]:
                self.script.remove((instant, action))
                action()
            if next_scan <= self.clock.now or next_scan > self.clock.now + self.every:
                next_scan = self.clock.now + self.every
                await life.scan()
            passed = {each for each in self.restarts if each <= self.clock.now}
            if passed:
                self.restarts -= passed
                return True
            await self._judge(life)

    async def _judge(self, life: Stage) -> None:
        self.log += [(self.clock.now, line) for line in await life.judge()]
        life.check()

    async def now(self) -> dict[str, str]:
        """Open findings: summary by "rule location"."""
        async with stage(self.folder, self.clock, self.source) as life:
            return life.findings()

    def told(self, beginning: str = "") -> list[str]:
        """What the exporter was told of findings, in order."""
        return [
            line
            for _, line in self.log
            if line.startswith(("opened", "altered", "resolved")) and line.startswith(beginning)
        ]

    def expect(self, line: str, *, after: timedelta, before: timedelta) -> None:
        """Told exactly once, and then."""
        at = [instant - EPOCH for instant, each in self.log if each == line]
        shown = "\n".join(f"{instant - EPOCH}: {each}" for instant, each in self.log)
        assert len(at) == 1, f"{line}: told {len(at)} times\n{shown}"
        assert after <= at[0] <= before, f"{line}: told at {at[0]}\n{shown}"
