"""One Alertmanager: what it must hear next, and how it is told."""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

import httpx

from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import NOTIFICATIONS
from exporters.alertmanager.grouping import Key

log = get_logger(__name__)

#: Alerts, and bytes, of one request.
BATCH = 500
BATCH_BYTES = 1 << 20
#: For one request, whatever the other side does: answers late, drips, never ends.
TIMEOUT_SECONDS = 10.0
#: Of an answer, more is not read.
MAX_ANSWER_BYTES = 64 << 10
FIRST_RETRY_SECONDS = 1.0
#: Who comes to a round so late stood still. Another process may work by now and have ended what this one would say again: that it
#: finds out within a moment, and ends.
STOOD_STILL_SECONDS, MOMENT_SECONDS = 15.0, 5.0

_HINTS = {
    401: ". Check username and password_file, or token_file",
    403: ". Check username and password_file, or token_file",
    404: ". Give the base of the Alertmanager's URL, without /api",
}


class Refused(Exception):
    """It did not take a batch. `again`: trying later makes sense. `too_large`: with less in it, at once."""

    def __init__(self, message: str, *, again: bool, too_large: bool = False) -> None:
        super().__init__(message)
        self.again = again
        self.too_large = too_large


class Sender:
    """Tells one Alertmanager everything that fires, again and again, and at once what changed. It needs no memory of
    what was delivered: what was missed while it was down is in the next round."""

    def __init__(
        self,
        *,
        name: str,
        url: str,
        client: httpx.AsyncClient,
        every: timedelta,
        keys: Callable[[], Iterable[Key]],
        alert: Callable[[Key], bytes | None],
        headers: Callable[[], Mapping[str, str]],
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """`keys`: all that must be heard in a round. `alert`: one of them as JSON; None: nothing any more.
        `headers`: blocking, for every round anew, since tokens are exchanged; raises OSError or ValueError."""
        self._name = name
        self._url = url.rstrip("/") + "/api/v2/alerts"
        self._client = client
        self._every = every.total_seconds()
        self._keys = keys
        self._alert = alert
        self._headers = headers
        self._timeout_seconds = timeout_seconds
        # Changed since the last telling; in the order in which they did.
        self._changed: dict[Key, None] = {}
        self._woken = asyncio.Event()

    def wake(self, changed: Iterable[Key]) -> None:
        """Do not wait for the next round with these."""
        self._changed |= dict.fromkeys(changed)
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        failures = 0
        next_round = loop.time()
        while True:
            self._woken.clear()
            if loop.time() > next_round + STOOD_STILL_SECONDS:
                await asyncio.sleep(MOMENT_SECONDS)
            is_round = loop.time() >= next_round
            try:
                await (self.tell_all() if is_round else self._tell_changed())
            except Refused as error:
                failures += 1
                wait = min(self._every, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 10))
                log.warning("alertmanager_failed", url=self._url, failures=failures, error=str(error))
                # Not woken by changes: an Alertmanager in trouble is not helped by more requests.
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
                next_round = loop.time()
                continue
            if failures:
                log.info("alertmanager_recovered", url=self._url, after=failures)
                failures = 0
            if is_round:
                next_round = loop.time() + self._every * random.uniform(0.9, 1.0)  # noqa: S311
            try:
                async with asyncio.timeout_at(next_round):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def tell_all(self) -> None:
        """Send everything that it must hear now. Raises Refused where trying again makes sense."""
        self._changed.clear()
        await self._tell(list(self._keys()))

    async def _tell_changed(self) -> None:
        changed, self._changed = list(self._changed), {}
        await self._tell(changed)

    async def _tell(self, keys: list[Key]) -> None:
        if not keys:
            return
        try:
            headers = await asyncio.to_thread(self._headers)
        except (OSError, ValueError) as error:
            raise Refused(str(error), again=True) from error
        start, most = 0, BATCH
        while start < len(keys):
            taken, batch = self._batch(keys, start, most)
            if batch:
                try:
                    await self._post(batch, headers)
                except Refused as error:
                    NOTIFICATIONS.labels(self._name, "failed").inc()
                    if error.too_large and len(batch) > 1:
                        most = len(batch) // 2
                        continue
                    if error.again:
                        raise
                    log.error("alerts_refused", url=self._url, alerts=len(batch), error=str(error))
                else:
                    NOTIFICATIONS.labels(self._name, "ok").inc()
            start += taken

    def _batch(self, keys: list[Key], start: int, most: int) -> tuple[int, list[bytes]]:
        """How many keys the batch covers, and their alerts. Made one batch at a time: many alerts do not hold the
        event loop, and each is told as it is then."""
        batch: list[bytes] = []
        size = taken = 0
        for key in keys[start : start + most]:
            alert = self._alert(key)
            if alert is not None:
                if batch and size + len(alert) > BATCH_BYTES:
                    break
                batch.append(alert)
                size += len(alert)
            taken += 1
        return taken, batch

    async def _post(self, batch: list[bytes], headers: Mapping[str, str]) -> None:
        content = b"[" + b",".join(batch) + b"]"
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._client.stream("POST", self._url, content=content, headers=headers) as answer,
            ):
                said = b""
                async for part in answer.aiter_raw():
                    said += part
                    if len(said) > MAX_ANSWER_BYTES:
                        break
        except TimeoutError as error:
            raise Refused(f"not answered within {self._timeout_seconds:g} s", again=True) from error
        except httpx.HTTPError as error:
            raise Refused(f"{type(error).__name__}: {error}", again=True) from error
        if answer.is_success:
            return
        status = answer.status_code
        raise Refused(
            f"HTTP {status}: {said[:200].decode(errors='replace')!r}{_HINTS.get(status, '')}",
            # A batch that it calls wrong is wrong the next time as well (it has taken the alerts that are right);
            # 408 and 429 are about the moment.
            again=status >= 500 or status in (401, 403, 404, 408, 429),
            too_large=status == 413,
        )
