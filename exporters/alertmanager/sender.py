"""One Alertmanager: what it must hear next, and how it is told."""

import asyncio
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import msgspec

from certwatch.model.clock import Clock
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import NOTIFICATIONS

log = get_logger(__name__)

BATCH = 500
FIRST_RETRY_SECONDS = 1.0


class Refused(Exception):
    """It did not take a batch. `again`: trying later makes sense."""

    def __init__(self, message: str, *, again: bool) -> None:
        super().__init__(message)
        self.again = again


class Sender:
    """Tells one Alertmanager everything that fires, again and again, and at once what changed. It needs no memory of
    what was delivered: what it missed while it was down is in the next round."""

    def __init__(
        self,
        *,
        name: str,
        url: str,
        client: httpx.AsyncClient,
        clock: Clock,
        every: timedelta,
        alerts: Callable[[datetime], list[dict[str, Any]]],
    ) -> None:
        self._name = name
        self._url = url.rstrip("/") + "/api/v2/alerts"
        self._client = client
        self._clock = clock
        self._every = every.total_seconds()
        self._alerts = alerts
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Something changed: do not wait for the next round."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            self._changed.clear()
            try:
                await self.tell()
            except Refused as error:
                failures += 1
                wait = min(self._every, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 10))
                log.warning("alertmanager_failed", url=self._url, failures=failures, error=str(error))
                # Not woken by changes: an Alertmanager in trouble is not helped by more requests.
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
                continue
            if failures:
                log.info("alertmanager_recovered", url=self._url, after=failures)
                failures = 0
            try:
                async with asyncio.timeout(self._every * random.uniform(0.9, 1.0)):  # noqa: S311
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def tell(self) -> None:
        """Send everything that it must hear now. Raises Refused where trying again makes sense."""
        for batch in _batches(self._alerts(self._clock())):
            try:
                await self._post(batch)
            except Refused as error:
                NOTIFICATIONS.labels(self._name, "failed").inc()
                if error.again:
                    raise
                log.error("alerts_refused", url=self._url, alerts=len(batch), error=str(error))
            else:
                NOTIFICATIONS.labels(self._name, "ok").inc()

    async def _post(self, batch: list[dict[str, Any]]) -> None:
        headers = {"Content-Type": "application/json"}
        try:
            answer = await self._client.post(self._url, content=msgspec.json.encode(batch), headers=headers)
        except httpx.HTTPError as error:
            raise Refused(f"{type(error).__name__}: {error}", again=True) from error
        if answer.is_success:
            return
        # A batch that it calls wrong is wrong the next time as well; 408 and 429 are about the moment.
        again = answer.status_code >= 500 or answer.status_code in (401, 403, 404, 408, 429)
        raise Refused(f"HTTP {answer.status_code}: {answer.text[:200]!r}", again=again)


def _batches(alerts: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(alerts), BATCH):
        yield alerts[start : start + BATCH]
