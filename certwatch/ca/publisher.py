"""Makes a CRL as soon as something was revoked, in the daemon: beside whoever issues, and one for all the revocations
that came meanwhile."""

import asyncio

from certwatch.ca import crl
from certwatch.ca.certificate import Issuer
from certwatch.ca.failure import CAError
from certwatch.ca.service import Service
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import CA_CHORE_FAILURES

log = get_logger(__name__)

#: After one that could not be made. The rounds of `RunningCA` try it as well.
PAUSE_SECONDS = 2.0


class Publisher:
    """Owned by the event loop's thread; `ask` may be called from any."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._due: dict[tuple[int, int], Issuer] = {}
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        service.authority.crl_due = self.ask

    def ask(self, issuer: Issuer, partition: int) -> None:
        def note() -> None:
            self._due[issuer.id, partition] = issuer
            self._wake.set()

        self._loop.call_soon_threadsafe(note)

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, {}
            for (id, partition), issuer in due.items():
                try:
                    await self._make(issuer, partition)
                except CAError as error:
                    CA_CHORE_FAILURES.labels("crl", error.kind).inc()
                    log.error("ca_crl_failed", issuer=issuer.name, partition=partition, error=error.message)
                    self._due.setdefault((id, partition), issuer)
            if self._due:
                await asyncio.sleep(PAUSE_SECONDS)
                self._wake.set()

    async def _make(self, issuer: Issuer, partition: int) -> None:
        authority = self._service.authority
        await self._service.beside(lambda: crl.make(authority, issuer, partition, scheduled=False))
