"""Requests to one log: paced, tried again, counted."""

import asyncio
import random
from collections.abc import Callable, Mapping

from certwatch.doors.fetch import Fetched, Fetcher, FetchError
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import CT_BYTES, CT_REQUESTS
from collectors.ct.pace import Pace
from collectors.ct.source import LogError, TooLargeError

log = get_logger(__name__)

#: Of one request, before it is given up for this scan.
TRIES = 5
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0


class Requests:
    def __init__(
        self,
        fetcher: Fetcher,
        pace: Pace,
        log_name: str,
        url: str,
        user_agent: str,
        heard: Callable[[str], None] = lambda date: None,
    ) -> None:
        """`heard`: given the Date of each answer."""
        self._fetcher = fetcher
        self.pace = pace
        self._log = log_name
        self._heard = heard
        self.url = url
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "gzip, identity"}

    async def get(self, path: str, *, max_bytes: int, tries: int | None = None) -> bytes:
        """`tries`: None: as many as usual. Raises LogError, MissingError."""
        pause = FIRST_PAUSE
        for left in range((tries or TRIES) - 1, -1, -1):
            try:
                async with self.pace.turn():
                    found = await self._fetcher.get(
                        f"{self.url}/{path}", headers=self._headers, max_bytes=max_bytes
                    )
            except FetchError as error:
                CT_REQUESTS.labels(self._log, error.kind).inc()
                if error.kind == "not-found":
                    raise MissingError(error.message) from error
                refuses = (
                    error.retry_after is not None
                    or " answers 429" in error.message
                    or " answers 503" in error.message
                )
                wait = self.pace.refuse(error.retry_after) if refuses else pause * (0.5 + random.random())  # noqa: S311
                if " answers with more than " in error.message:
                    raise TooLargeError(error.message, again=False) from error
                if not error.again or not left:
                    raise LogError(error.message, again=error.again) from error
                log.debug(
                    "ct_request_failed",
                    log=self._log,
                    path=path,
                    error=error.message,
                    again_in=round(wait, 3),
                )
                await asyncio.sleep(wait)
                pause = min(LONGEST_PAUSE, pause * 2)
                continue
            CT_REQUESTS.labels(self._log, "ok").inc()
            self._heard(header(found.headers, "date"))
            CT_BYTES.labels(self._log).inc(len(found.body))
            self.pace.answered(_sent(found))
            return found.body
        raise AssertionError("unreachable")

    def __repr__(self) -> str:
        return f"<{self.url}>"


class MissingError(LogError):
    """404 or 410."""


def _sent(found: Fetched) -> int:
    """Bytes on the wire, as far as the server says."""
    length = header(found.headers, "content-length")
    return int(length) if length.isdigit() and len(length) < 12 else len(found.body)


def header(headers: Mapping[str, str], name: str) -> str:
    return headers.get(name, "").strip()
