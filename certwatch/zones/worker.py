"""The life of a worker that reaches PostgreSQL: it waits for jobs of its zone, does them, and says that it is alive."""

import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import procrastinate
import psycopg
import psycopg_pool
from procrastinate.exceptions import ConnectorException

import certwatch
from certwatch.engine.view import StoreView
from certwatch.inventory import open_inventory
from certwatch.inventory.postgresql.zones import Zones
from certwatch.inventory.store import InventoryError, InventoryErrorKind
from certwatch.model.clock import Clock
from certwatch.telemetry.logs import get_logger
from certwatch.zones.desk import DatabaseDesk
from certwatch.zones.life import KEEPS_A_LEASE, STOP_SECONDS, boottime, worker_name
from certwatch.zones.perform import Lost, Workplace, perform
from certwatch.zones.queue import bring_up, make_app
from certwatch.zones.thread import ZonesThread

log = get_logger(__name__)

#: The queue is asked so often, should its notifications not arrive (PgBouncer).
POLL_SECONDS = 1.0
#: What is not waited for, of a server that this worker has worked with: one that fails over is read-only for a while, and a
#: full disk gets room. And what is, of one that it has not.
_LASTING = frozenset({"not-inventory", "newer", "corrupt"})
_PASSING_AT_FIRST = frozenset({"unreachable", "not-found"})

#: Between two attempts to begin; doubled up to the longest.
RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.5, 15.0


class Worker:
    """Owned by the event loop's thread."""

    def __init__(
        self,
        url: str,
        zone: str,
        *,
        slots: int,
        lease_seconds: float,
        env: Mapping[str, str],
        clock: Clock,
        monotonic: Callable[[], float] = boottime,
    ) -> None:
        self._url = url
        self._zone = zone
        self._slots = slots
        self._lease = lease_seconds
        self._env = env
        self._clock = clock
        self._monotonic = monotonic
        self._lost = Lost(monotonic, lease_seconds)
        self._stopping = asyncio.Event()
        #: As it is enrolled. None: it is not.
        self._number: int | None = None

    def stop(self) -> None:
        """What is under way is ended, within a while; nothing more is begun."""
        self._stopping.set()

    async def main(self) -> None:
        """Until `stop`. A database that cannot be reached is waited for. Raises InventoryError if it is none of ours."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        # Handing in and saying that it lives never wait for each other.
        handing, keeping = ZonesThread(self._url), ZonesThread(self._url)
        tasks = [asyncio.create_task(self._keep(keeping)), asyncio.create_task(self._expire())]
        pause = RETRY_SECONDS
        try:
            while not self._stopping.is_set():
                began = loop.time()
                try:
                    await self._work(handing, keeping)
                except (InventoryError, ConnectorException, psycopg.Error, psycopg_pool.PoolTimeout) as error:
                    if isinstance(error, InventoryError) and not self._passes(error.kind):
                        raise
                    log.warning("worker_cut_off", zone=self._zone, error=str(error))
                pause = RETRY_SECONDS if loop.time() - began > 60 else min(2 * pause, LONGEST_RETRY_SECONDS)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            with suppress(InventoryError, TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    if self._number is not None:
                        worker = self._number
                        await keeping.call(lambda zones: zones.leave(worker))
                    await keeping.close()
                    await handing.close()
            log.info("worker_stopped", zone=self._zone)

    def _passes(self, kind: InventoryErrorKind) -> bool:
        return kind in _PASSING_AT_FIRST if self._number is None else kind not in _LASTING

    async def _work(self, handing: ZonesThread, keeping: ZonesThread) -> None:
        """Until `stop`, or until the database is gone."""
        store = await asyncio.to_thread(open_inventory, self._url, create=False)
        await asyncio.to_thread(bring_up, self._url)
        await self._enrol(keeping)
        view = StoreView(store)
        place = Workplace(env=self._env, clock=self._clock, view=view)
        desk = DatabaseDesk(handing)

        async def look(shard: int) -> None:
            worker = self._number
            if worker is None:
                return  # about to enrol anew: the daemon tells of it again
            given = await handing.call(lambda zones: zones.claim(shard, worker))
            if given is None:
                return
            try:
                await perform(given, desk, place, self._lost.hold(given))
            finally:
                self._lost.drop(given)

        app = make_app(self._url, look)
        try:
            async with app.open_async():
                log.info("worker_ready", zone=self._zone, worker=self._number, jobs=self._slots)
                await self._take_jobs(app)
        finally:
            view.close()

    async def _take_jobs(self, app: procrastinate.App) -> None:
        taking = asyncio.create_task(
            app.run_worker_async(
                queues=[self._zone],
                concurrency=self._slots,
                install_signal_handlers=False,
                delete_jobs="always",
                fetch_job_polling_interval=POLL_SECONDS,
                update_heartbeat_interval=self._lease / KEEPS_A_LEASE,
                stalled_worker_timeout=self._lease,
                shutdown_graceful_timeout=STOP_SECONDS,
            )
        )
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            taking.cancel()  # it ends what is under way first
            await asyncio.wait({taking})
        if not taking.cancelled():
            taking.result()

    async def _enrol(self, zones: ZonesThread) -> None:
        name, zone = worker_name(), self._zone
        former = self._number
        if former is not None and await zones.call(lambda it: it.keep(former)) is not None:
            return
        self._number = await zones.call(
            lambda it: it.enrol(
                zone,
                name,
                "postgresql",
                certwatch.__version__,
                slots=self._slots,
                lease_seconds=self._lease,
            )
        )

    async def _keep(self, zones: ZonesThread) -> None:
        while True:
            await asyncio.sleep(self._lease / KEEPS_A_LEASE)
            worker = self._number
            if worker is None:
                continue
            since, held = self._monotonic(), self._lost.held()
            try:
                still = await zones.call(lambda it, worker=worker: it.keep(worker))  # type: ignore[misc]
                if still is None:
                    log.warning("worker_forgotten", zone=self._zone, worker=worker)
                    await self._enrol(zones)
                self._lost.kept(since, still or frozenset(), held)
                for shard, claim in self._lost.orphans(still or frozenset()):
                    log.warning("shard_orphaned", shard=shard)
                    await zones.call(partial(_release, shard, claim))
            except InventoryError as error:
                log.warning("worker_not_heard", zone=self._zone, error=error.message)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(self._lease / (4 * KEEPS_A_LEASE))
            if self._lost.expire():
                log.warning("worker_lost_lease", zone=self._zone)


def _release(shard: int, claim: int, zones: Zones) -> None:
    zones.release(shard, claim)
