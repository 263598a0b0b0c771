"""The embedded CA within the daemon: its listeners, and what remediation asks of it."""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certwatch.config import defaults
from certwatch.config.settings import Config
from certwatch.model.clock import Clock
from certwatch.telemetry import logs
from certwatch.web.server import HTTPServer, bind

if TYPE_CHECKING:
    from certwatch.ca.running import RunningCA

log = logs.get_logger(__name__)

#: Of each listener: many clients ask it at once, and each briefly.
CONNECTIONS = 2048
#: For what remediation asks of the CA: a token may be slow.
ASK_SECONDS = 120.0


class Issuing:
    """Owned by the event loop. Order: `open`, `start`, `stop`."""

    def __init__(self, ca: "RunningCA", servers: list[HTTPServer]) -> None:
        self.ca = ca
        self._servers = servers

    @classmethod
    async def open(cls, config: Config, env: Mapping[str, str], clock: Clock) -> "Issuing | None":
        """None: it is to listen nowhere. Raises CAError, ConfigError, PortError."""
        keys = config.ca
        if keys is None or (keys.listen is None and keys.listen_tls is None):
            return None
        # Most daemons have no CA.
        from certwatch.ca.configured import configured
        from certwatch.ca.running import RunningCA

        folder = Path(keys.directory or defaults.ca_folder(env, uid=os.getuid()))
        settings, secrets = await asyncio.to_thread(
            lambda: configured(
                keys, folder, env=env, say=lambda message: log.warning("ca_remark", remark=message)
            )
        )
        opened = cls(await RunningCA.open(settings, secrets, clock), [])
        try:
            opened._bind(settings.listen, settings.listen_tls)
        except BaseException:
            await opened.stop()
            raise
        return opened

    def _bind(self, plain: str | None, tls: str | None) -> None:
        ca = self.ca
        for address, app, context in ((plain, ca.public, None), (tls, ca.tls_app, ca.tls)):
            if address is not None:
                server = HTTPServer(bind(address), app, tls=context, connections=CONNECTIONS)
                self._servers.append(server)
                log.info("ca_listens", url=server.url)

    def start(self) -> None:
        for server in self._servers:
            server.start()

    def asking(self, loop: asyncio.AbstractEventLoop) -> Callable[[str, Mapping[str, Any]], dict[str, Any]]:
        """For threads: acts of the CA that this process has."""
        from certwatch.ca.acts import perform

        def ask(act: str, values: Mapping[str, Any]) -> dict[str, Any]:
            doing = self.ca.service.act(lambda authority: perform(authority, act, values))
            return asyncio.run_coroutine_threadsafe(doing, loop).result(ASK_SECONDS)

        return ask

    async def stop(self) -> None:
        for server in self._servers:
            await server.stop()
        await self.ca.close()
