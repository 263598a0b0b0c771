"""The CA inside the daemon: opened, served, kept fresh, closed."""

import asyncio
import ssl
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from certwatch.ca import crl, rotation
from certwatch.ca.authority import Authority
from certwatch.ca.failure import CAError
from certwatch.ca.http.app import public_app, tls_app
from certwatch.ca.http.site import CASite
from certwatch.ca.keys import Secrets
from certwatch.ca.ledger import Entry
from certwatch.ca.local_socket import LocalSocket
from certwatch.ca.own_certificate import OwnCertificate, names_for
from certwatch.ca.propagation import Propagation
from certwatch.ca.published import Published
from certwatch.ca.publisher import Publisher
from certwatch.ca.responder import Responder
from certwatch.ca.service import Service
from certwatch.ca.settings import CASettings
from certwatch.ca.shipping import Shipping, Tell
from certwatch.model.clock import Clock
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import CA_CHORE_FAILURES

log = get_logger(__name__)

#: Between looks at what has to be made anew.
ROUND_SECONDS = 20.0


class RunningCA:
    """Owned by the event loop's thread."""

    def __init__(self, authority: Authority) -> None:
        self.service = Service(authority)
        self.site = CASite(
            service=self.service,
            published=Published(authority),
            responder=Responder(authority),
            clock=authority.clock,
        )
        #: For `ca: listen`.
        self.public: ASGIApp = public_app(self.site)
        #: For `ca: listen_tls`, by `tls`. None: none is configured.
        self.tls_app: ASGIApp | None = None
        self._own: OwnCertificate | None = None
        self._socket = LocalSocket(self.service)
        #: What lives as long as it does, and ends before the authority.
        self._within = AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop
        self._tasks: list[asyncio.Task[None]] = []
        self._propagation = Propagation()

    @classmethod
    async def open(cls, settings: CASettings, secrets: Secrets, clock: Clock) -> "RunningCA":
        """Takes the CA's lock. Raises CAError."""
        authority = await asyncio.to_thread(Authority, settings, secrets, clock)
        running: RunningCA | None = None
        try:
            running = await asyncio.to_thread(cls, authority)
            if settings.listen_tls is not None:
                host = urlsplit(settings.addresses.url).hostname
                running._own = OwnCertificate(names_for(settings.hostnames, settings.listen_tls, host))
                await running.service.act(running._own.renew)
                running.tls_app = tls_app(running.site, await running._acme())
            elif settings.acme is not None:
                raise CAError("usage", "ca: acme: is spoken by TLS alone: set ca: listen_tls (host:port)")
            await running._socket.start()
        except BaseException:
            if running is not None:
                await running._within.aclose()
            authority.close()
            raise
        running._loop = asyncio.get_running_loop()
        authority.ledger.listeners.append(running._told)
        running._tasks = [
            asyncio.create_task(Publisher(running.service).run()),
            asyncio.create_task(running._keep_fresh()),
        ]
        return running

    async def _acme(self) -> Sequence[BaseRoute]:
        """Its routes, none where it is not configured. Raises CAError."""
        keys = self.site.settings.acme
        if keys is None:
            return ()
        from certwatch.ca.acme.server import AcmeServer
        from certwatch.ca.acme.settings import settings_of

        server = AcmeServer(self.service, settings_of(keys))
        await self._within.enter_async_context(server.running())
        return server.routes()

    @property
    def tls(self) -> ssl.SSLContext | None:
        return self._own.context if self._own is not None else None

    def _told(self, entries: Sequence[Entry]) -> None:
        """In the acting thread."""
        authority = self.service.authority
        if self._own is not None and any(each.kind == "issuer" for each in entries):
            self._own.trust(authority)
        for entry in entries:
            if entry.kind != "revocation":
                continue
            serial = bytes.fromhex(msgspec.json.decode(entry.data)["serial"])
            for der, issuer in authority.rows(
                "SELECT der, issuers.certificate FROM certificates JOIN issuers ON issuers.id = certificates.issuer"
                " WHERE serial = ? AND der IS NOT NULL",
                serial,
            ):
                self._loop.call_soon_threadsafe(
                    self._propagation.follow,
                    x509.load_der_x509_certificate(der),
                    x509.load_der_x509_certificate(issuer),
                )

    async def _keep_fresh(self) -> None:
        while True:
            for name, chore in self._chores():
                try:
                    await chore
                except CAError as error:
                    CA_CHORE_FAILURES.labels(name, error.kind).inc()
                    log.error("ca_chore_failed", chore=name, kind=error.kind, error=error.message)
            await asyncio.sleep(ROUND_SECONDS)

    def _chores(self) -> Iterator[tuple[str, Awaitable[object]]]:
        act, responder, own = self.service.act, self.site.responder, self._own
        if self.service.authority.settings.addresses.has_responder:
            yield "ocsp", act(responder.renew)
            yield "ocsp", self.service.beside(responder.presign)
        yield "crl", self.service.beside(lambda: crl.refresh(self.service.authority))
        yield "rotation", act(rotation.retire)
        if own is not None and own.due is not None and self.site.clock() >= own.due:
            yield "listener-certificate", act(own.renew)

    def ship(self, tell: Tell) -> None:
        """Tell the ledger's entries to others from now on, beginning where it was left."""
        self._tasks.append(asyncio.create_task(Shipping(self.service, tell).run()))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._propagation.close()
        await self._socket.stop()
        await self._within.aclose()
        await self.service.close()
        self.service.authority.close()
