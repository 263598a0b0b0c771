"""The HTTP port as the config wants it: bound, and with its web config in force, which is followed on disk."""

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from certwatch.config.mistakes import ConfigError
from certwatch.config.settings import Config
from certwatch.doors.changes import changes
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import WEB_CONFIG_OK
from certwatch.web.guard import OnlyTelemetry, WebGuard
from certwatch.web.secured import Secured
from certwatch.web.server import HTTPServer, bind, is_loopback
from certwatch.web.tls_context import make_context
from certwatch.web.web_config import WebConfig, read

log = get_logger(__name__)

#: Where the kernel tells of no changes (NFS), files are looked at this often.
CHECK_SECONDS = 60.0

Stamps = Mapping[Path, tuple[int, ...] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A web config that was read, checked and can be served with."""

    path: Path
    config: WebConfig
    #: None: plain HTTP.
    context: ssl.SSLContext | None
    #: Of its files, as they were before they were read.
    stamps: Stamps


def load_web_config(path: Path) -> Loaded:
    """Blocking. Raises ConfigError."""
    before = {path: _stamp(path)}
    config = read(path)
    stamps = {each: _stamp(each) for each in config.files} | before
    context = make_context(str(path), config.tls) if config.tls is not None else None
    return Loaded(path=path, config=config, context=context, stamps=stamps)


def web_config_of(config: Config) -> Loaded | None:
    """Of the exporter that says where to listen. None: it has none. Blocking. Raises ConfigError."""
    for each in config.exporters:
        if isinstance(getattr(each.config, "listen", None), str):
            path = getattr(each.config, "web_config", None)
            return load_web_config(Path(path).expanduser()) if path else None
    return None


class Port:
    """Owned by the event loop."""

    def __init__(
        self, address: str, loaded: Loaded | None, *, insecure: bool = False, former: "Port | None" = None
    ) -> None:
        """`loaded`: None: there is no web config. `former`: at the same address, its socket is used on. Raises
        PortError."""
        self.address = address
        self._loaded = loaded
        self._app: ASGIApp | None = None
        secured = None
        if loaded is not None and loaded.config.tls is not None and loaded.context is not None:
            secured = Secured(loaded.config.tls, loaded.context)
        if former is not None and former.address == address:
            bound = former.server.same_socket()
        else:
            bound = bind(address)
        self.secured: Secured | None = secured
        self.server: HTTPServer = (
            HTTPServer(bound, tls=secured.first, protocol=secured.protocol())
            if secured
            else HTTPServer(bound)
        )
        self._outer: ASGIApp = self._answer
        if not insecure and not is_loopback(address):
            self._outer = OnlyTelemetry(self._answer, lambda: self._web_config)
        if loaded is not None:
            self._outer = WebGuard(self._outer, lambda: self._web_config)

    @property
    def _web_config(self) -> WebConfig:
        return self._loaded.config if self._loaded is not None else WebConfig()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._app is not None  # noqa: S101 - set with `answer`
        await self._app(scope, receive, send)

    def answer(self, app: ASGIApp) -> None:
        """From now on with this application, behind what the web config asks."""
        self._app = app
        self.server.app = self._outer

    def fits(self, address: str, loaded: Loaded | None) -> bool:
        """Whether this port can go on with that, once it has taken it."""
        mine = self._loaded
        if address != self.address or (mine is None) != (loaded is None):
            return False
        if mine is None or loaded is None:
            return True
        ours, theirs = mine.config.tls, loaded.config.tls
        return mine.path == loaded.path and (
            (ours is None and theirs is None)
            or (ours is not None and theirs is not None and ours.parameters == theirs.parameters)
        )

    def take(self, loaded: Loaded | None) -> None:
        """Users, headers, a renewed certificate: in force with the next request and handshake. It must fit."""
        self._loaded = loaded
        WEB_CONFIG_OK.set(1)
        if (
            self.secured is not None
            and loaded is not None
            and loaded.config.tls is not None
            and loaded.context is not None
        ):
            self.secured.put(loaded.config.tls, loaded.context)

    async def follow(self) -> None:
        """Take what changes in the files of the web config, until cancelled."""
        while self._loaded is not None:
            folders = [each.parent for each in self._loaded.config.files]
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    async for _ in changes(folders, recursive=False):
                        await self._refresh()
                    await asyncio.sleep(CHECK_SECONDS)
            except TimeoutError:
                pass
            except OSError:
                # The kernel does not tell: as often as can be.
                await asyncio.sleep(CHECK_SECONDS)
            await self._refresh()

    async def _refresh(self) -> None:
        loaded = self._loaded
        if loaded is None:
            return
        try:
            fresh = await asyncio.to_thread(_if_changed, loaded)
        except ConfigError as error:
            WEB_CONFIG_OK.set(0)
            log.error("web_config_refused", errors=" | ".join(error.messages))
            return
        if fresh is None or self._loaded is not loaded:
            return
        if self.fits(self.address, fresh):
            self.take(fresh)
            log.info("web_config_taken", web_config=str(fresh.path))
        else:
            WEB_CONFIG_OK.set(0)
            log.warning("web_config_waits_for_a_reload", web_config=str(fresh.path))


def _if_changed(loaded: Loaded) -> Loaded | None:
    now = {each: _stamp(each) for each in loaded.stamps}
    return None if now == loaded.stamps else load_web_config(loaded.path)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """None: it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
