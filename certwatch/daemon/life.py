"""The daemon: it opens everything, answers signals, takes the config anew, and closes everything."""

import asyncio
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import certwatch
from certwatch.ca.failure import CAError
from certwatch.config.load import load
from certwatch.config.mistakes import ConfigError
from certwatch.config.settings import Config
from certwatch.daemon.front import Front, host_names
from certwatch.daemon.issuing import Issuing
from certwatch.daemon.process import FAILED, OK, USAGE, end_at_once, hanging, program_name, refuse
from certwatch.daemon.standby import Standby
from certwatch.doors.trust_files import TrustError
from certwatch.engine.assemble import assemble
from certwatch.engine.engine import Engine
from certwatch.engine.known_rules import KnownRule, known_rules
from certwatch.engine.view import StoreView
from certwatch.inventory import open_inventory
from certwatch.inventory.store import InventoryError, Reader, Store, Writer
from certwatch.model.clock import Clock
from certwatch.model.ledger_entry import LedgerEntry
from certwatch.plugins.exporter import News
from certwatch.remediation.failure import RemediationError
from certwatch.telemetry import logs
from certwatch.telemetry.metrics import RELOAD_OK, RELOAD_TIME
from certwatch.telemetry.notify import keep_alive, notify
from certwatch.web.app import make_app
from certwatch.web.exporter_routes import guarded
from certwatch.web.port import web_config_of
from certwatch.web.server import PortError
from certwatch.web.site import Site

if TYPE_CHECKING:
    from certwatch.daemon.pushing import PushPort
    from certwatch.remediation.opening import RunningRemediation
    from certwatch.zones.dispatch import Dispatcher

log = logs.get_logger(__name__)

#: From the signal to the end, whatever hangs.
STOP_SECONDS = 12.0
#: For what blocks: name look-ups, files, pages of the inventory.
THREADS = 16
_THREAD = "certwatch-io"
#: Between two looks whether another daemon has left the shared inventory.
TURN_SECONDS = 2.0
#: For what exporters read when it is this one's turn no longer.
CORRECT_SECONDS = 4.0
#: For what exporters read when it is this one's turn: until then it answers what it knew when it stood by.
TAKE_OVER_SECONDS = 60.0


class Daemon:
    """The life of one process. Owned by the event loop's thread."""

    def __init__(
        self,
        config: Config,
        path: Path | None,
        env: Mapping[str, str],
        clock: Clock,
        insecure_listen: bool = False,
    ) -> None:
        self._config = config
        # As it was asked for: what is found there is looked up anew by every reload.
        self._path = path
        self._env = env
        self._clock = clock
        self._stopping = asyncio.Event()
        # One reload at a time; also guards what a reload replaces.
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=_THREAD)
        self._view: StoreView | None = None
        self._engine: Engine | None = None
        self._front = Front(insecure=insecure_listen, keep=self._keep)
        # The embedded CA. None: it listens nowhere.
        self._issuing: Issuing | None = None
        self._remediation: RunningRemediation | None = None
        # Of an inventory that several daemons share: one of them works, the others stand by.
        self._store: Store | None = None
        self._standby: Standby | None = None
        self._lost = False
        # For collectors that name a zone. None: the inventory is this process's alone.
        self._dispatcher: Dispatcher | None = None
        # Asks whether it is this one's turn yet. None: nobody else can have it.
        self._turn_watch: asyncio.Task[None] | None = None
        # Where workers come that cannot reach PostgreSQL. None: nowhere.
        self._pushing: PushPort | None = None

    async def main(self) -> int:
        self._take_signals()
        asyncio.get_running_loop().set_default_executor(self._threads)
        refused = await self._begin()
        if refused is None:
            notify(self._env, "READY=1", f"STATUS={self._status()}")
            self._keep(asyncio.create_task(keep_alive(self._env, self._status)))
            if self._store is not None and self._store.is_shared:
                self._turn_watch = asyncio.create_task(self._watch_turn())
            await self._stopping.wait()
            notify(self._env, "STOPPING=1")
            log.info("stopping")
        return await self._stop(FAILED if self._lost else OK if refused is None else refused)

    async def _begin(self) -> int | None:
        """The exit status, if it cannot, or need not any more."""
        try:
            store = self._store = await asyncio.to_thread(open_inventory, self._config.inventory)
            self._view = StoreView(store)
            writer = await self._turn(store)
            if writer is None:
                return OK
            async with self._reloading:
                self._dispatcher = self._divides(store)
                self._engine = Engine(store, writer, self._view, self._clock, zones=self._dispatcher)
                keeping = asyncio.create_task(self._keep_turn(self._engine))
                try:
                    await self._start(self._engine, self._view)
                finally:
                    keeping.cancel()
                    await asyncio.wait([keeping])
            return None
        except InventoryError as error:
            return refuse(FAILED, error.message)
        except (CAError, RemediationError) as error:
            return refuse(USAGE if error.kind == "usage" else FAILED, error.message)
        except ConfigError as error:
            return refuse(USAGE, *error.messages)
        except PortError as error:
            return refuse(FAILED, str(error))
        except TrustError as error:
            return refuse(USAGE, f"{self._config.name}: {error}")

    async def _start(self, engine: Engine, view: StoreView) -> None:
        """Raises what `_begin` says."""
        # The one that a reload took while this one stood by.
        config = self._config
        work = await asyncio.to_thread(assemble, config, view, self._clock)
        rules, _ = await asyncio.to_thread(known_rules, config)
        self._front.listen(config, await asyncio.to_thread(web_config_of, config))
        self._issuing = await Issuing.open(config, self._env, self._clock)
        await self._open_remediation(config)
        if self._dispatcher is not None and config.workers.listen is not None:
            from certwatch.daemon.pushing import PushPort

            self._pushing = await PushPort.open(
                config, self._issuing.ca if self._issuing is not None else None, self._dispatcher, self._clock
            )
        for remark in config.remarks:
            log.warning("config_remark", remark=remark)
        self._front.start()
        if self._issuing is not None:
            self._issuing.start()
        await engine.start(work)
        if self._issuing is not None:
            self._issuing.ca.ship(self._tell_entries)
        if self._remediation is not None:
            self._keep(asyncio.create_task(self._remediation.run()))
        standby, self._standby = self._standby, None
        if standby is None:
            self._answer(config, rules)
        else:
            self._keep(asyncio.create_task(self._take_over(standby, config, rules)))
        self._taken(config)
        self._say_where()

    async def _take_over(self, standby: Standby, config: Config, rules: Sequence[KnownRule]) -> None:
        """What it answered when it stood by is answered until there is as much to say."""
        assert self._engine is not None  # noqa: S101
        with suppress(TimeoutError):
            async with asyncio.timeout(TAKE_OVER_SECONDS):
                await self._engine.publisher.begun()
        async with self._reloading:
            if self._config is config and not self._stopping.is_set():
                self._answer(config, rules)
            await standby.stop()

    def _status(self) -> str:
        reasons = self._engine.not_ready() if self._engine is not None else []
        return "; ".join(reasons)[:200] or "watching"

    def _divides(self, store: Store) -> "Dispatcher | None":
        if not store.is_shared:
            return None
        from certwatch.zones.dispatch import Dispatcher

        return Dispatcher(self._config.inventory, self._config.workers, self._clock)

    async def _turn(self, store: Store) -> Writer | None:
        """The writer, as soon as no other daemon has it. None: told to stop before that."""
        waits = False
        while not self._stopping.is_set():
            try:
                return await asyncio.to_thread(partial(store.writer, keeps_turn=True))
            except InventoryError as error:
                # A server that fails over is waited for as well, once this one stands by.
                if not store.is_shared or error.kind not in ("locked", *(["unreachable"] if waits else [])):
                    raise
                if not waits:
                    waits = True
                    log.info("stands_by", reason=error.message)
                    await self._stand_by()
                    notify(self._env, "READY=1", "STATUS=stands by")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), TURN_SECONDS)
        return None

    async def _stand_by(self) -> None:
        """Answer what can be read, until it is this one's turn. Raises ConfigError, PortError, TrustError."""
        assert self._view is not None  # noqa: S101
        async with self._reloading:
            self._standby = Standby(self._view, self._clock)
            try:
                await self._answer_standing_by(self._standby, self._config)
            except PortError as error:
                # Of two on one machine: the other one has it until it ends.
                log.warning("stands_by_unasked", reason=str(error))
            self._taken(self._config)

    async def _answer_standing_by(self, standby: Standby, config: Config) -> None:
        assert self._view is not None  # noqa: S101
        work = await asyncio.to_thread(assemble, config, self._view, self._clock)
        rules, _ = await asyncio.to_thread(known_rules, config)
        former = self._front.port
        self._front.listen(config, await asyncio.to_thread(web_config_of, config))
        await standby.use(config, work)
        port = self._front.port
        if port is not None:
            site = standby.site(rules, self.reload, host_names(config, port.address))
            port.answer(make_app(site, standby.routes()))
        self._front.replaced(former)

    async def _keep_turn(self, engine: Engine) -> None:
        """While it starts, however long that takes."""
        while True:
            with suppress(InventoryError):
                await engine.writer.call(lambda it: it.keep_turn())
            await asyncio.sleep(TURN_SECONDS)

    async def _watch_turn(self) -> None:
        """Another daemon took over while this one could not reach the server: whoever restarts this one makes it stand by."""
        assert self._engine is not None  # noqa: S101
        while True:
            with suppress(InventoryError):
                await self._engine.writer.call(lambda it: it.keep_turn())
            failure = self._engine.writer.failure
            if failure is not None and failure.kind == "locked":
                log.error("lost_turn", reason=failure.message)
                self._lost = True
                with suppress(TimeoutError):
                    async with asyncio.timeout(CORRECT_SECONDS):
                        await self._engine.publisher.correct()
                self._stopping.set()
                return
            await asyncio.sleep(TURN_SECONDS)

    async def _tell_entries(self, entries: tuple[LedgerEntry, ...]) -> None:
        assert self._engine is not None  # noqa: S101
        publisher = self._engine.publisher
        # One that is about to begin reads the inventory, where these are not: it is waited for.
        await publisher.drained()
        publisher.publish(News(entries=entries))
        await publisher.drained()

    async def _open_remediation(self, config: Config) -> None:
        """If a policy allows anything. Raises RemediationError, PluginError as a ConfigError."""
        if config.remediation is None or not config.remediation.policies:
            return
        assert self._engine is not None and self._store is not None  # noqa: S101
        store = self._store
        from certwatch.remediation.again import Again
        from certwatch.remediation.opening import open_remediation

        loop, engine = asyncio.get_running_loop(), self._engine

        def look_again(collectors: Iterable[str]) -> None:
            for name in collectors:
                engine.schedule.look_again(name)

        again = Again(look_again)

        self._remediation = await asyncio.to_thread(
            lambda: open_remediation(
                config,
                self._env,
                self._clock,
                reading=self._reading,
                mark=store.mark,
                ask_ca=self._issuing.asking(loop) if self._issuing is not None else None,
                look_again=again,
            )
        )

    def _reading(self) -> AbstractContextManager[Reader]:
        assert self._view is not None  # noqa: S101
        return self._view.reading()

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._told_to_reload)

    def _told_to_stop(self, number: signal.Signals) -> None:
        if self._stopping.is_set():
            log.warning("stopped_at_once", signal=number.name)
            end_at_once(FAILED)
        self._stopping.set()

    def _told_to_reload(self) -> None:
        self._keep(asyncio.create_task(self.reload()))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        # The loop holds tasks weakly.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def reload(self) -> Sequence[str]:
        """Take the config anew. What is wrong with it, and then everything goes on as before; empty: taken."""
        async with self._reloading:
            if self._stopping.is_set():
                return ["stopping: nothing is reloaded any more"]
            try:
                await self._reload()
            except ConfigError as error:
                wrong = list(error.messages)
            except (TrustError, PortError) as error:
                wrong = [str(error)]
            else:
                return []
            RELOAD_OK.set(0)
            log.error("reload_refused", errors=" | ".join(wrong))
            return wrong

    async def _reload(self) -> None:
        config = await asyncio.to_thread(load, self._path, env=self._env)
        if config.inventory != self._config.inventory:
            raise ConfigError(
                [f"{config.name}: inventory: another one is taken by a restart alone. Restart certwatch"]
            )
        if config.ca != self._config.ca:
            raise ConfigError([f"{config.name}: ca: a change is taken by a restart alone. Restart certwatch"])
        if config.workers != self._config.workers:
            raise ConfigError(
                [f"{config.name}: workers: a change is taken by a restart alone. Restart certwatch"]
            )
        if not _same_remediation(config, self._config):
            raise ConfigError(
                [f"{config.name}: remediation: a change is taken by a restart alone. Restart certwatch"]
            )
        if self._standby is not None:
            await self._answer_standing_by(self._standby, config)
            logs.set_up(level=config.log.level, style=config.log.style)
        else:
            await self._use(config)
        self._taken(config)
        log.info("reloaded", config=config.name)

    async def _use(self, config: Config) -> None:
        assert self._engine is not None and self._view is not None  # noqa: S101
        work = await asyncio.to_thread(assemble, config, self._view, self._clock)
        rules, _ = await asyncio.to_thread(known_rules, config)
        web_config = await asyncio.to_thread(web_config_of, config)
        former = self._front.port
        self._front.listen(config, web_config)
        logs.set_up(level=config.log.level, style=config.log.style)
        await self._engine.use(work)
        self._answer(config, rules)
        self._front.replaced(former)

    def _taken(self, config: Config) -> None:
        self._config = config
        RELOAD_OK.set(1)
        RELOAD_TIME.set(self._clock().timestamp())

    def _answer(self, config: Config, rules: Sequence[KnownRule]) -> None:
        """From now on by this config and the exporters that there are now."""
        engine, view, port = self._engine, self._view, self._front.port
        if port is None or engine is None or view is None:
            return
        site = Site(
            version=certwatch.__version__,
            not_ready=engine.not_ready,
            broken=engine.broken,
            clock=self._clock,
            collectors=engine.collectors,
            rules=rules,
            reading=view.reading,
            reload=self.reload,
            host_names=host_names(config, port.address),
        )
        port.answer(make_app(site, guarded(engine.publisher.routes())))

    def _say_where(self) -> None:
        config = self._config
        url = self._front.port.server.url if self._front.port is not None else ""
        inventory = (
            config.inventory.removeprefix("sqlite://") if config.inventory.startswith("sqlite:") else "…"
        )
        log.info("started", version=certwatch.__version__, config=config.name, url=url, inventory=inventory)
        if config.path is None and config.log.style == "line":
            sys.stderr.write(
                "\nNo config was found, so certwatch watches this host: its certificate files and listening TLS ports.\n"
                f"  page       {url}/\n  metrics    {url}/metrics\n  inventory  {inventory}\n"
                f"  ask it     {program_name()} list · {program_name()} findings\n"
                "  stop it    Ctrl-C\n\n"
            )

    async def _stop(self, code: int) -> int:
        """Everything that was seen is kept; bounded."""
        try:
            async with asyncio.timeout(STOP_SECONDS), self._reloading:
                if self._turn_watch is not None:
                    # The engine's end closes what it asks with.
                    self._turn_watch.cancel()
                    await asyncio.wait([self._turn_watch])
                if self._remediation is not None:
                    await self._remediation.stop()
                if self._standby is not None:
                    await self._standby.stop()
                if self._engine is not None:
                    await self._engine.stop()
                elif self._view is not None:
                    self._view.close()
                if self._pushing is not None:
                    await self._pushing.close()
                if self._dispatcher is not None:
                    await self._dispatcher.close()
                await self._front.stop()
                if self._issuing is not None:
                    await self._issuing.stop()
        except TimeoutError:
            log.error("stop_took_too_long", seconds=STOP_SECONDS)
            end_at_once(FAILED)
        log.info("stopped")
        self._threads.shutdown(wait=False, cancel_futures=True)
        if hanging(_THREAD):
            # Such a thread (a name server that does not answer) would keep the process for minutes.
            end_at_once(code)
        return code


def _same_remediation(one: Config, other: Config) -> bool:
    if one.remediation is None or other.remediation is None:
        return one.remediation is other.remediation
    return one.remediation.keys == other.remediation.keys
