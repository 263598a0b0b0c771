"""Where the daemon answers: one port, by its config. Another address is bound before the former one is left."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from certwatch.config.settings import Config
from certwatch.daemon.standby import listens
from certwatch.web.port import Loaded, Port
from certwatch.web.server import is_loopback


class Front:
    """Owned by the event loop. Order: `listen` any number of times, `stop`."""

    def __init__(self, *, insecure: bool, keep: Callable[[asyncio.Task[Any]], None]) -> None:
        """`insecure`: not refused on an address that others reach without a web config. `keep`: holds a task until it ends."""
        self.port: Port | None = None
        self._insecure = insecure
        self._keep = keep
        # Takes what changes in the port's web config.
        self._following: asyncio.Task[None] | None = None

    def listen(self, config: Config, loaded: Loaded | None) -> None:
        """Bind the configured port, unless it is bound already and goes on with that web config. Raises PortError."""
        address, port = _address(config), self.port
        if address is None:
            self.port = None
        elif port is not None and port.fits(address, loaded):
            port.take(loaded)
            return
        else:
            self.port = Port(address, loaded, insecure=self._insecure, former=port)
            self.port.take(loaded)
        if self._following is not None:
            self._following.cancel()
            self._following = None
        if self.port is not None and loaded is not None:
            self._following = asyncio.create_task(self.port.follow())
            self._keep(self._following)

    def start(self) -> None:
        if self.port is not None:
            self.port.server.start()

    def replaced(self, former: Port | None) -> None:
        """The port, perhaps: the new one answers, the former one ends."""
        if self.port is not former:
            self.start()
            if former is not None:
                # Beside: it may be answering this very reload.
                self._keep(asyncio.create_task(former.server.stop()))

    async def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
        if self.port is not None:
            await self.port.server.stop()


def _address(config: Config) -> str | None:
    """Where to listen: what the first exporter says that has a `listen`. None: none has."""
    for each in config.exporters:
        if listens(each.config):
            return str(getattr(each.config, "listen"))  # noqa: B009
    return None


def host_names(config: Config, address: str) -> frozenset[str] | None:
    """See `Site.host_names`."""
    if not is_loopback(address):
        return None
    name = urlsplit(config.external_url).hostname
    return frozenset([name] if name else [])
