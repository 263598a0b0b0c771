"""Validations under way: bounded, tried again a few times, begun again after a restart."""

import asyncio
from types import TracebackType
from typing import Self

from certwatch.ca.acme import accounts, orders
from certwatch.ca.acme.problem import Problem
from certwatch.ca.acme.settings import AcmeSettings
from certwatch.ca.acme.validate import validate
from certwatch.ca.failure import CAError
from certwatch.ca.service import Service
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import CA_ACME_VALIDATIONS

AT_ONCE = 32
#: Above so many, what a client has begun fails at once: it makes another order later.
MOST = 2000

log = get_logger(__name__)


class Validations:
    """`async with` it: it owns its tasks. Belongs to the event loop."""

    def __init__(self, service: Service, settings: AcmeSettings) -> None:
        self._service = service
        self._settings = settings
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        for each in await self._service.act(orders.processing):
            self.begin(each)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def begin(self, part: orders.Authorization) -> None:
        """`part` is processing."""
        task = asyncio.create_task(self._see(part))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _see(self, part: orders.Authorization) -> None:
        if len(self._tasks) > MOST:
            problem: Problem | None = Problem(
                "rateLimited", "too many validations are under way. Try again later"
            )
        else:
            async with self._slots:
                problem = await self._look(part)
        CA_ACME_VALIDATIONS.labels(part.tried or "", "ok" if problem is None else problem.type).inc()
        try:
            await self._service.act(lambda authority: orders.end(authority, part, problem))
        except CAError as error:
            # It stays processing, and is begun again with the next start.
            log.error("acme_validation_not_kept", authorization=part.id, error=error.message)

    async def _look(self, part: orders.Authorization) -> Problem | None:
        try:
            account = await self._service.act(lambda authority: accounts.by_id(authority, part.account))
            if account is None or account.status != "valid":
                return Problem("unauthorized", "the account is not valid any more")
            problem: Problem | None = None
            for pause in (0, *self._settings.retry_seconds):
                await asyncio.sleep(pause)
                try:
                    await validate(part, account.key.thumbprint, self._settings)
                except Problem as found:
                    problem = found
                else:
                    return None
            return problem
        except Exception as error:
            # What the client shows is hostile, and a fault of ours in reading it must not leave it waiting for ever.
            log.error(
                "acme_validation_failed", authorization=part.id, error=f"{type(error).__name__}: {error}"
            )
            return Problem("serverInternal", "the validation failed by a fault of the server")
