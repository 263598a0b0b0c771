"""The port of workers that cannot reach PostgreSQL."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from certwatch.ca.failure import CAError
from certwatch.config.mistakes import ConfigError
from certwatch.config.schema import WorkersKeys
from certwatch.config.settings import Config
from certwatch.model.clock import Clock
from certwatch.telemetry.logs import get_logger
from certwatch.web.access import TimeLimit
from certwatch.web.server import HTTPServer, bind
from certwatch.web.tls_context import make_context
from certwatch.web.web_config import TLSServer
from certwatch.zones.counter import Counter, NotAdmittedError, names_of, require_in_force
from certwatch.zones.dispatch import Dispatcher
from certwatch.zones.thread import ZonesThread

if TYPE_CHECKING:
    from certwatch.ca.running import RunningCA

log = get_logger(__name__)

#: Of workers, each with a few connections.
CONNECTIONS = 1024
#: Between two looks whether the certificate on disk is another one.
RENEW_SECONDS = 60.0


class PushPort:
    """Owned by the event loop's thread. Order: `open`, `close`."""

    def __init__(
        self,
        server: HTTPServer,
        counter: Counter,
        threads: Sequence[ZonesThread],
        renewing: asyncio.Task[None] | None,
    ) -> None:
        self.server = server
        self._counter = counter
        self._threads = threads
        self._renewing = renewing

    @classmethod
    async def open(
        cls, config: Config, ca: "RunningCA | None", dispatcher: Dispatcher, clock: Clock
    ) -> "PushPort | None":
        """If the config has one. Raises ConfigError, PortError."""
        keys = config.workers
        if keys.listen is None:
            return None
        context, identify = await _secured(config, ca, clock)
        threads = (ZonesThread(config.inventory), ZonesThread(config.inventory))
        counter = Counter(
            *threads,
            dispatcher.take,
            keys.zones,
            identify,
            keys.lease.total_seconds(),
            clock,
            others=dispatcher.others,
        )
        # A slow sender, or one that stands still, does not keep its place.
        app = TimeLimit(counter.app)
        try:
            server = HTTPServer(bind(keys.listen), app, tls=context, connections=CONNECTIONS)
        except BaseException:
            for each in threads:
                await each.close()
            raise
        server.start()
        renewing = None if keys.cert_file is None else asyncio.create_task(_renew(keys, context))
        log.info("workers_port", url=server.url)
        return cls(server, counter, threads, renewing)

    async def close(self) -> None:
        self._counter.stop()
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
        await self.server.stop()
        for each in self._threads:
            await each.close()


async def _secured(
    config: Config, ca: "RunningCA | None", clock: Clock
) -> tuple[ssl.SSLContext, Callable[[bytes], Awaitable[frozenset[str]]]]:
    keys = config.workers
    if keys.cert_file is not None and keys.key_file is not None and keys.client_ca_file is not None:
        files = (keys.cert_file, keys.key_file, keys.client_ca_file)
        certificate, key, client_ca = await asyncio.to_thread(lambda: [_read(config, each) for each in files])
        server = TLSServer(
            certificate=certificate,
            key=key,
            client_ca=client_ca,
            client_required=True,
            client_sans=frozenset(),
            min_version="TLS12",
            max_version="TLS13",
            ciphers=(),
            server_prefers=False,
            curves=(),
        )
        context = await asyncio.to_thread(make_context, f"{config.name}: workers", server)

        async def named(der: bytes) -> frozenset[str]:
            require_in_force(der, clock())
            return names_of(der)

        return context, named
    if ca is None or ca.tls is None:
        needs = "needs cert_file, key_file and client_ca_file, or the embedded CA with `ca: listen_tls`"
        raise ConfigError([f"{config.name}: workers: listen: {needs}"])
    from certwatch.ca.clients import client_of

    running = ca

    async def known(der: bytes) -> frozenset[str]:
        try:
            await running.service.beside(lambda: client_of(running.service.authority, der))
        except CAError as error:
            raise NotAdmittedError(error.message) from error
        return names_of(der)

    return ca.tls, known


def _read(config: Config, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConfigError([f"{config.name}: workers: {file} cannot be read: {error.strerror}"]) from error


async def _renew(keys: WorkersKeys, context: ssl.SSLContext) -> None:
    """A certificate that was renewed on disk is presented in the next handshake."""
    certificate, key = str(keys.cert_file), str(keys.key_file)

    def stamp() -> tuple[int, int]:
        return Path(certificate).stat().st_mtime_ns, Path(key).stat().st_mtime_ns

    seen = await asyncio.to_thread(stamp)
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            now = await asyncio.to_thread(stamp)
            if now != seen:
                await asyncio.to_thread(context.load_cert_chain, certificate, key, lambda: "")
                seen = now
                log.info("workers_certificate_renewed", path=certificate)
        except (OSError, ssl.SSLError) as error:
            log.warning("workers_certificate_not_renewed", path=certificate, error=str(error))
