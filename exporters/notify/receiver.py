"""One receiver: what it must be told now, by what it was told before."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from certwatch.model.clock import Clock
from certwatch.model.finding import Severity
from certwatch.plugins.duration import format_duration
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import NOTIFICATIONS
from exporters.notify.config import NotifyConfig
from exporters.notify.message import Expiring, Item, Message, ordered
from exporters.notify.state import State, load, save
from exporters.notify.ways import NotSent, Way

log = get_logger(__name__)

FIRST_RETRY_SECONDS = 5.0
MAX_RETRY_SECONDS = 900.0
#: Wall clocks are set: an instant that is far away is looked at again.
MAX_WAIT_SECONDS = 60.0


class Receiver:
    """Level-triggered: a message says what differs from what this receiver was told last, so that nothing is lost with
    news, with a failed attempt or with a restart. Its state changes only after a message was taken."""

    def __init__(
        self,
        *,
        name: str,
        route: str,
        way: Way,
        path: Path | None,
        config: NotifyConfig,
        clock: Clock,
        external_url: str,
        open: Callable[[str, tuple[Severity, ...]], Mapping[int, Item]],
        is_open: Callable[[int], bool],
        expiring: Callable[[str], Awaitable[tuple[Expiring, ...]]],
    ) -> None:
        """`open(route, severities)`: findings of this route that are open. `is_open(id)`: on whatever route.
        `expiring(route)`: soonest first. `path`: of its state; None: not kept."""
        self.shown = f"{way.shown} for {route}" if route else way.shown
        self._name = name
        self._route = route
        self._way = way
        self._path = path
        self._config = config
        self._zone = ZoneInfo(config.timezone)
        self._clock = clock
        self._external_url = external_url
        self._open = open
        self._is_open = is_open
        self._expiring = expiring
        self._state: State | None = None
        # Since when something waits for its group.
        self._pending_since: datetime | None = None
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            self._woken.clear()
            try:
                wait = await self.round()
            except NotSent as error:
                failures += 1
                wait = min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 10))
                log.warning("not_notified", receiver=self.shown, failures=failures, error=str(error))
                # Not woken by changes: they are in the next attempt.
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
                continue
            if failures:
                log.info("notified_again", receiver=self.shown, after=failures)
                failures = 0
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait, MAX_WAIT_SECONDS)):
                    await self._woken.wait()

    async def round(self, *, last: bool = False) -> float:
        """Tells what is due; seconds until something else will be. `last`: does not wait for groups. Raises
        NotSent."""
        if self._state is None:
            self._state = await asyncio.to_thread(load, self._path)
        now = self._clock()
        waits = [await self._pages(now, last=last)]
        if self._config.digest is not None:
            waits.append(await self._digest(now))
        return max(0.0, min(waits))

    async def _pages(self, now: datetime, *, last: bool) -> float:
        """What is told at once, together with what opened soon after it."""
        assert self._state is not None  # noqa: S101
        told = self._state.pages
        present = self._open(self._route, self._config.immediate)
        new, still, resolved = self._compared(present, told)
        gone = told.keys() - present.keys()
        if new or resolved:
            self._pending_since = min(self._pending_since or now, now)
            wait = (self._pending_since + self._config.group_wait - now).total_seconds()
            if wait <= 0 or last:
                await self._send(
                    Message(
                        kind="pages",
                        route=self._route,
                        sent_at=now,
                        new=new,
                        open=still,
                        resolved=resolved,
                        external_url=self._external_url,
                    )
                )
                return await self._told_pages(present, now)
            return wait
        self._pending_since = None
        if gone:  # handed over to another route: nothing to say here
            return await self._told_pages(present, self._state.pages_at or now)
        if not still or not self._config.repeat:
            return MAX_WAIT_SECONDS
        # A clock that was set back does not make it silent.
        since = min(self._state.pages_at or now, now)
        wait = (since + self._config.repeat - now).total_seconds()
        if wait > 0:
            return wait
        await self._send(
            Message(kind="pages", route=self._route, sent_at=now, open=still, external_url=self._external_url)
        )
        return await self._told_pages(present, now)

    async def _told_pages(self, present: Mapping[int, Item], at: datetime) -> float:
        self._pending_since = None
        await self._keep(pages=_without_text(present), pages_at=at)
        return 0.0

    async def _digest(self, now: datetime) -> float:
        assert self._state is not None and self._config.digest is not None  # noqa: S101
        schedule = self._config.digest
        if self._state.digest_at is None or self._state.digest_at > now:
            # New here, or a clock that was set back: the next one comes at its time.
            await self._keep(digest_at=now)
        elif schedule.last(now, self._zone) > self._state.digest_at:
            present = self._open(self._route, self._config.severities)
            new, still, resolved = self._compared(present, self._state.digest)
            expiring = await self._expiring(self._route) if self._config.expiring else ()
            if new or still or resolved or expiring:
                await self._send(
                    Message(
                        kind="digest",
                        route=self._route,
                        sent_at=now,
                        new=new,
                        open=still,
                        resolved=resolved,
                        expiring=expiring,
                        within=format_duration(self._config.expiring),
                        external_url=self._external_url,
                    )
                )
            await self._keep(digest=_without_text(present), digest_at=now)
        return (schedule.next(now, self._zone) - now).total_seconds()

    def _compared(
        self, present: Mapping[int, Item], told: Mapping[int, Item]
    ) -> tuple[tuple[Item, ...], tuple[Item, ...], tuple[Item, ...]]:
        """New, still open, resolved. What another route has now is none of them."""
        return (
            ordered(each for id, each in present.items() if id not in told),
            ordered(each for id, each in present.items() if id in told),
            ordered(each for id, each in told.items() if id not in present and not self._is_open(id)),
        )

    async def _send(self, message: Message) -> None:
        try:
            await self._way.send(message)
        except NotSent:
            NOTIFICATIONS.labels(self._name, "failed").inc()
            raise
        NOTIFICATIONS.labels(self._name, "ok").inc()
        log.info(
            "notified", receiver=self.shown, kind=message.kind, new=len(message.new), open=len(message.open)
        )

    async def _keep(self, **changed: object) -> None:
        assert self._state is not None  # noqa: S101
        self._state = msgspec.structs.replace(self._state, **changed)
        try:
            await asyncio.to_thread(save, self._path, self._state)
        except OSError as error:
            # Held in memory: a restart tells it once more.
            log.error("notify_state_not_kept", path=str(self._path), error=str(error))


def _without_text(items: Mapping[int, Item]) -> dict[int, Item]:
    return {id: msgspec.structs.replace(each, text="") for id, each in items.items()}
