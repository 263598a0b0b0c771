"""2 → 3: what changed and what is due goes to the rules; what they say becomes findings, and news."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from certwatch.engine.judge import RuleSet, judge
from certwatch.engine.writer import WriterThread
from certwatch.expressions.findings import Silences
from certwatch.inventory.store import InventoryError, Judgement, Reader, Store
from certwatch.model.clock import Clock
from certwatch.model.mark import Marks
from certwatch.model.observation import Scan
from certwatch.model.sighting import Served
from certwatch.plugins.exporter import News
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import EVALUATION_SECONDS, EVALUATIONS

log = get_logger(__name__)

#: Locations read at once.
PAGE = 500
#: What is judged by then is written, though the page has more: a stop waits no longer than this.
PAGE_SECONDS = 0.5
#: The longest sleep, whatever is due when: so long a silence that somebody adds waits to be noticed.
LONGEST_SLEEP = timedelta(seconds=5)
#: After a round that the inventory refused.
RETRY_SECONDS = 30.0


class Evaluator:
    """Judges page by page, in a thread of its own, so that the event loop stays free. Owned by one task: rounds
    never overlap."""

    def __init__(
        self,
        store: Store,
        writer: WriterThread,
        clock: Clock,
        publish: Callable[[News], None],
        *,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._publish = publish
        self._retry_seconds = retry_seconds
        # None: not yet said. Judging by no rules at all would resolve everything.
        self._rules: RuleSet | None = None
        # False: the inventory has not yet been told by which rules everything must be judged.
        self._required = True
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rules")
        # Made and used in `_thread` only.
        self._reader: Reader | None = None
        self._silences = Silences()
        # Of what is in `_silences`. None: nothing was read yet.
        self._silences_revision: int | None = None
        self._marks = Marks()
        self._marks_revision: int | None = None
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._scans: list[Scan] = []
        #: True once a round has ended with nothing left to judge.
        self.done_once = False
        #: Why the last round came to nothing. None: it did not.
        self.failure: str | None = None

    def wake(self) -> None:
        """Something may be due: changed, or the clock jumped."""
        self._woken.set()

    def scan_ended(self, scan: Scan) -> None:
        """Told with the next round, after what the scan changed."""
        self._scans.append(scan)
        self.wake()

    def forget(self, collectors: Sequence[str]) -> None:
        """They are configured no more: told at once, and no scan of theirs after it."""
        self._scans = [each for each in self._scans if each.collector not in collectors]
        self._publish(News(forgotten=tuple(collectors)))

    def use(self, rules: RuleSet) -> None:
        """Judge by these from now on; if they differ from those that judged last, also by another process,
        everything is judged anew."""
        self._rules, self._required = rules, False
        self.wake()

    def stop(self) -> None:
        """`run` ends after the page that it is at: what was settled is told."""
        self._stopping.set()
        self._woken.set()

    async def run(self) -> None:
        """Rounds, each when something changed or is due, until `stop`."""
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                await self.round()
                sleep = await self._sleep()
                self.failure = None
                waiting = self._woken
            except InventoryError as error:
                if self.failure is None:
                    log.error("evaluation_failed", reason=error.kind, error=error.message)
                # Not to be woken: every batch of a scan would start a round that cannot write.
                self.failure, sleep, waiting = error.message, self._retry_seconds, self._stopping
            try:
                async with asyncio.timeout(sleep):
                    await waiting.wait()
            except TimeoutError:
                pass

    async def round(self, seconds: float = math.inf) -> int:
        """Judge what is due until nothing is, or no page begins after `seconds`: how many locations that were.
        Raises InventoryError; what was judged until then is settled and told."""
        if self._rules is None:
            return 0
        began = time.monotonic()
        # Those that ended before this round: what they changed is told before them.
        scans = len(self._scans)
        judged = 0
        while count := await self._page():
            judged += count
            if (self._stopping.is_set() and seconds == math.inf) or time.monotonic() - began > seconds:
                return judged
        if scans:
            ended, self._scans = self._scans[:scans], self._scans[scans:]
            self._publish(News(scans=tuple(ended)))
        self.done_once = True
        EVALUATION_SECONDS.observe(time.monotonic() - began)
        if judged:
            log.debug("evaluated", locations=judged, seconds=round(time.monotonic() - began, 3))
        return judged

    async def _require(self, rules: RuleSet) -> None:
        if await self._writer.call(lambda writer: writer.require_judgement(rules.digest)):
            log.info("rules_changed", digest=rules.digest[:12])
        self._required = rules is self._rules

    async def _page(self) -> int:
        loop = asyncio.get_running_loop()
        rules = self._rules
        assert rules is not None  # noqa: S101 - `round` asked
        if not self._required:
            await self._require(rules)
        judged = await loop.run_in_executor(self._thread, self._judge, rules)
        if not judged or rules is not self._rules:
            # Other rules meanwhile: this is read and judged once more, by them.
            return len(judged)
        now = self._clock()
        settled = await self._writer.call(
            lambda writer: writer.settle([judgement for judgement, _, _ in judged], now)
        )
        EVALUATIONS.inc(len(judged))
        news = News(
            changed=tuple([served for _, served, new in judged if new and served.retired_at is None]),
            retired=tuple([served for _, served, new in judged if new and served.retired_at is not None]),
            opened=settled.opened,
            altered=settled.altered,
            resolved=settled.resolved,
        )
        if news:
            self._publish(news)
        return len(judged)

    def _judge(self, rules: RuleSet) -> list[tuple[Judgement, Served, bool]]:
        """One page: judgement, location, and whether the location changed. In the thread."""
        now = self._clock()
        deadline = time.monotonic() + PAGE_SECONDS
        judged: list[tuple[Judgement, Served, bool]] = []
        page = self._open().due(now, PAGE)
        # After the page: a silence or mark that made one of these due is known then.
        self._read_silences()
        self._read_marks()
        for due in page:
            judgement, served = judge(due, rules, now, self._silences, self._marks)
            judged.append((judgement, served, due.changed or served.owner != due.served.owner))
            if time.monotonic() > deadline:
                break
        return judged

    def _read_silences(self) -> None:
        """In the thread."""
        reader = self._open()
        revision = reader.silences_revision()
        if revision == self._silences_revision:
            return
        self._silences = Silences(reader.silences(self._clock()))
        for silence, reason in self._silences.refused:
            log.error("silence_refused", silence=silence.id, error=reason)
        self._silences_revision = revision

    def _read_marks(self) -> None:
        """In the thread."""
        reader = self._open()
        revision = reader.marks_revision()
        if revision != self._marks_revision:
            self._marks, self._marks_revision = Marks(reader.marks()), revision

    def _open(self) -> Reader:
        if self._reader is None:
            self._reader = self._store.reader()
        return self._reader

    async def _sleep(self) -> float:
        """Seconds until the next location is due."""
        loop = asyncio.get_running_loop()
        next_due = await loop.run_in_executor(self._thread, lambda: self._open().next_due())
        if next_due is None:
            return LONGEST_SLEEP.total_seconds()
        return max(0.0, min(next_due - self._clock(), LONGEST_SLEEP).total_seconds())

    async def close(self) -> None:
        """After `run` has ended."""

        def close() -> None:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

        await asyncio.get_running_loop().run_in_executor(self._thread, close)
        await asyncio.to_thread(self._thread.shutdown)
