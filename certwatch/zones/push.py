"""The life of a worker that cannot reach PostgreSQL: jobs from the daemon's port, and what it saw back there, by way of a
spool on disk."""

import asyncio
import signal
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import httpx
import msgspec

import certwatch
from certwatch.inventory.shards import Claimed, SupersededError
from certwatch.inventory.store import InventoryError
from certwatch.model.clock import Clock
from certwatch.model.observation import LookError, Observation, ScanID
from certwatch.telemetry.logs import get_logger
from certwatch.zones import wire
from certwatch.zones.life import KEEPS_A_LEASE, STOP_SECONDS, boottime, worker_name
from certwatch.zones.outcome import Outcome, encode, failure
from certwatch.zones.perform import Lost, Workplace, perform
from certwatch.zones.spool import Message, Spool, SpoolError

log = get_logger(__name__)

#: Longer than the daemon lets a worker wait for a job.
READ_SECONDS = 45.0
CONNECT_SECONDS = 10.0
#: Between two attempts; doubled up to the longest.
RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.5, 15.0

M = TypeVar("M", bound=msgspec.Struct)


class PushRefused(Exception):
    """The daemon does not want this worker, or what it says. The message says why."""


class _NotAdmitted(PushRefused):
    """It does not want this worker at all, as it is now."""


class _Unreachable(Exception):
    """Not now."""


class _Gone(Exception):
    """What was meant is another's, or over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """To the daemon."""

    #: https://host:port
    url: str
    #: Of this worker: PEM, leaf first; with its key, or that in another file.
    certificate: Path
    key: Path | None
    #: Who signed the daemon's certificate. None: whom this system trusts.
    trust: Path | None


class _Line:
    """HTTPS to the daemon. A renewed certificate is taken up when a connection is made anew."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._client: httpx.AsyncClient | None = None
        # The one before: who waits for an answer by it gets that yet.
        self._former: httpx.AsyncClient | None = None
        # Of the files that the client was made from, and of those that none could be made from.
        self._seen: tuple[int, ...] = ()
        self._half: tuple[int, ...] = ()
        # One client is made at a time.
        self._making = asyncio.Lock()

    def _stamp(self) -> tuple[int, ...]:
        files = (self._way.certificate, self._way.key, self._way.trust)
        return tuple(each.stat().st_mtime_ns for each in files if each is not None)

    def _context(self) -> ssl.SSLContext:
        """Raises PushRefused: what is configured cannot be used."""
        way = self._way
        try:
            context = ssl.create_default_context(cafile=None if way.trust is None else str(way.trust))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(way.certificate, way.key, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
            raise PushRefused(
                f"certificate {way.certificate}, its key, or what the daemon is trusted by cannot be used: {reason}."
                " They are to be PEM, the key without a passphrase"
            ) from error
        return context

    async def _ready(self) -> httpx.AsyncClient:
        try:
            stamp = await asyncio.to_thread(self._stamp)
        except OSError as error:
            why = f"{error.filename} cannot be read: {error.strerror}"
            # It may be renewed just now, unless it never was there.
            raise (_Unreachable(why) if self._seen else PushRefused(why)) from error
        async with self._making:
            if self._client is None or stamp not in (self._seen, self._half):
                await self._make(stamp)
            assert self._client is not None  # noqa: S101
            return self._client

    async def _make(self, stamp: tuple[int, ...]) -> None:
        """Raises PushRefused: the first cannot be made."""
        try:
            context = await asyncio.to_thread(self._context)
        except PushRefused as error:
            if self._client is None:
                raise
            # Certificate and key are two files: one of them is new, and the other is not yet.
            self._half = stamp
            log.warning("certificate_not_taken", error=str(error))
            return
        former, self._former = self._former, self._client
        self._client = httpx.AsyncClient(
            base_url=self._way.url,
            verify=context,
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,
            follow_redirects=False,
        )
        self._seen = stamp
        if former is not None:
            await former.aclose()

    async def post(self, path: str, body: bytes = b"") -> bytes:
        """The answer's body. Raises _Unreachable, _Gone, PushRefused."""
        client = await self._ready()
        try:
            answer = await client.post(path, content=body)
        except httpx.HTTPError as error:
            raise _Unreachable(f"{self._way.url}: {error or type(error).__name__}") from error
        if answer.is_success:
            return answer.content
        try:
            why = msgspec.msgpack.decode(answer.content, type=wire.Refused).error
        except msgspec.MsgspecError:
            why = f"HTTP status {answer.status_code}"
        # 409: a server that took over was behind, and lacks what was handed in before.
        if answer.status_code in (409, 410):
            raise _Gone(why)
        # 3xx and 404 are no words of a daemon: something stands in its place now.
        if answer.is_redirect or answer.status_code in (404, 408, 425, 429) or answer.status_code >= 500:
            raise _Unreachable(f"{self._way.url}: {why}")
        raise (_NotAdmitted if answer.status_code == 403 else PushRefused)(f"{self._way.url}: {why}")

    async def close(self) -> None:
        clients = (self._client, self._former)
        self._client = self._former = None
        for client in clients:
            if client is not None:
                await client.aclose()


class SpoolDesk:
    """Keeps the promise of `perform.Desk`: what is handed in is on disk, and sent in order by `run`. Owned by the event loop."""

    def __init__(self, spool: Spool, line: _Line, superseded: Callable[[int, int], None]) -> None:
        self._spool = spool
        self._line = line
        self._superseded = superseded
        # One thread at a time.
        self._using = asyncio.Lock()
        self._numbers: dict[tuple[int, int], int] = {}
        #: Claims of which nothing more is taken, until their end has passed through: since the daemon refused something,
        #: and why; empty: they are another's, or over.
        self._dead: dict[tuple[int, int], str] = {}
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        #: Everything was sent.
        self.empty = asyncio.Event()

    async def pending(self) -> frozenset[tuple[int, int]]:
        """Claims of which something is still to be sent."""
        async with self._using:
            return await asyncio.to_thread(
                lambda: frozenset((it.shard, it.claim) for it in self._spool.all())
            )

    @property
    def has_room(self) -> bool:
        return not self._spool.is_full

    async def begin(self) -> None:
        """What an earlier process left is sent; what it did not bring to an end is given back. A disk that is full gets room
        by that alone: then it is given back when its worker takes leave, or by its lease."""
        async with self._using:
            messages = await asyncio.to_thread(
                lambda: [(it.kind, it.shard, it.claim) for it in self._spool.all()]
            )
        ended = {(shard, claim) for kind, shard, claim in messages if kind != "batch"}
        begun = dict.fromkeys((shard, claim) for _, shard, claim in messages)
        for shard, claim in begun:
            if (shard, claim) not in ended:
                try:
                    await self._put("release", shard, claim, 0, b"")
                except InventoryError as error:
                    log.warning("spool_not_written", shard=shard, error=error.message)
        if messages:
            log.info("spool_found", messages=len(messages))
        self._arrived.set()

    async def record(
        self, given: Claimed, number: int, batch: Sequence[Observation], labels: Mapping[str, str]
    ) -> None:
        """`number` is of batches as the collector brings them; those that are sent have their own."""
        for body in await asyncio.to_thread(wire.batches, batch):
            await self._room.wait()
            key = (given.shard, given.claim)
            if key in self._dead:
                raise SupersededError(f"shard {given.shard}: another has it, or it is over")
            self._numbers[key] = self._numbers.get(key, 0) + 1
            await self._put("batch", given.shard, given.claim, self._numbers[key], body)

    async def finish(self, given: Claimed, outcome: Outcome) -> None:
        # Those that are sent are numbered anew.
        sent = self._numbers.get((given.shard, given.claim), 0)
        text = await asyncio.to_thread(encode, msgspec.structs.replace(outcome, batches=sent))
        await self._end("end", given, text.encode())

    async def release(self, given: Claimed, *, failed: bool = False) -> None:
        await self._end("release", given, b"failed" if failed else b"")

    async def _end(self, kind: Literal["end", "release"], given: Claimed, body: bytes) -> None:
        self._numbers.pop((given.shard, given.claim), None)
        await self._put(kind, given.shard, given.claim, 0, body)

    async def _put(
        self, kind: Literal["batch", "end", "release"], shard: int, claim: int, number: int, body: bytes
    ) -> None:
        message = Message(kind=kind, shard=shard, claim=claim, number=number, body=body)
        async with self._using:
            try:
                await asyncio.to_thread(self._spool.put, message)
            except SpoolError as error:
                raise InventoryError("full", str(error)) from error
            if self._spool.is_full:
                self._room.clear()
                log.warning("spool_full", bytes=self._spool.bytes)
        self.empty.clear()
        self._arrived.set()

    async def run(self) -> None:
        """Send, until cancelled. Raises PushRefused: nothing is taken from this worker; what waits is kept for one that is
        admitted."""
        pause = RETRY_SECONDS
        while True:
            async with self._using:
                kept = await asyncio.to_thread(self._spool.first)
            if not self._spool.is_full:
                self._room.set()
            if kept is None:
                self.empty.set()
                self._arrived.clear()
                if not len(self._spool):
                    await self._arrived.wait()
                continue
            message = kept.message
            key = (message.shard, message.claim)
            try:
                await self._send(message)
            except _Unreachable as error:
                log.warning(
                    "push_failed", error=str(error), waiting=len(self._spool), bytes=self._spool.bytes
                )
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_RETRY_SECONDS)
                continue
            except _NotAdmitted:
                raise
            except (_Gone, PushRefused) as error:
                log.warning("push_not_taken", shard=message.shard, kind=message.kind, error=str(error))
                is_refused = isinstance(error, PushRefused)
                again = is_refused and message.kind == "end" and key not in self._dead
                self._dead[key] = str(error) if is_refused else ""
                self._superseded(*key)
                if again:
                    # That it was refused is its end: else it would be done once more, to be refused again.
                    continue
            pause = RETRY_SECONDS
            if message.kind != "batch":
                self._dead.pop(key, None)
            async with self._using:
                await asyncio.to_thread(self._spool.drop, kept.path)

    async def _send(self, message: Message) -> None:
        job = f"/v1/jobs/{message.shard}/{message.claim}"
        why = self._dead.get((message.shard, message.claim))
        if why is not None and message.kind == "batch":
            return
        if why:
            # Nobody else would fare better: it is not given back, to be refused again.
            refused = failure(LookError(kind="other", message=f"the daemon refused what was pushed: {why}"))
            await self._line.post(f"{job}/end", encode(refused).encode())
            return
        if why is not None:
            await self._line.post(f"{job}/release")
            return
        if message.kind == "release":
            await self._line.post(f"{job}/release" + ("?failed=1" if message.body else ""))
            return
        path = f"{job}/batches/{message.number}" if message.kind == "batch" else f"{job}/end"
        await self._line.post(path, message.body)


class Pusher:
    """Owned by the event loop's thread."""

    def __init__(
        self,
        way: Way,
        zone: str,
        *,
        slots: int,
        spool: Spool,
        env: Mapping[str, str],
        clock: Clock,
        monotonic: Callable[[], float] = boottime,
    ) -> None:
        self._way = way
        self._zone = zone
        self._slots = slots
        self._spool = spool
        self._env = env
        self._clock = clock
        self._monotonic = monotonic
        self._line = _Line(way)
        # Until the daemon says how long: not lost.
        self._lost = Lost(monotonic, float("inf"))
        self._desk = SpoolDesk(spool, _Line(way), self._lost.lose)
        self._free = asyncio.Semaphore(slots)
        self._stopping = asyncio.Event()
        #: None: not enrolled.
        self._number: int | None = None
        self._lease = 0.0
        self._jobs: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        self._stopping.set()

    async def main(self) -> None:
        """Until `stop`. A daemon that cannot be reached is waited for. Raises PushRefused, SpoolError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        await self._desk.begin()
        former = await asyncio.to_thread(self._spool.noted)
        tasks = [asyncio.create_task(each) for each in (self._desk.run(), self._keep(), self._expire())]
        if former is not None:
            self._jobs.add(asyncio.create_task(self._take_leave(former)))
        taking = asyncio.create_task(self._take_jobs())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({taking, stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            taking.cancel()
            stopping.cancel()
            await asyncio.wait({taking, stopping})
            await self._end_jobs()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._leave()
            self._spool.close()
            log.info("worker_stopped", zone=self._zone)
        for each in (taking, *tasks):
            if not each.cancelled():
                each.result()

    async def _end_jobs(self) -> None:
        """What is under way may end within a while, and is sent within another; the rest waits in the spool for this worker's
        next life."""
        if self._jobs:
            _, late = await asyncio.wait(self._jobs, timeout=STOP_SECONDS)
            for each in late:
                each.cancel()
            if late:
                await asyncio.wait(late)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._desk.empty.wait()

    async def _leave(self) -> None:
        if self._number is not None and not len(self._spool):
            with suppress(_Unreachable, _Gone, PushRefused, TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._line.post(f"/v1/workers/{self._number}/leave")
                    await asyncio.to_thread(self._spool.forget)
        await self._line.close()

    async def _take_leave(self, former: int) -> None:
        """Of what this worker was before it crashed, when all that it left is sent: what it had goes to others at once."""
        await self._desk.empty.wait()
        with suppress(_Unreachable, _Gone, PushRefused):
            await self._line.post(f"/v1/workers/{former}/leave")

    async def _take_jobs(self) -> None:
        pause = RETRY_SECONDS
        while True:
            await self._free.acquire()
            took = False
            try:
                if self._number is None:
                    await self._enrol()
                given = await self._take() if self._desk.has_room else None
                pause = RETRY_SECONDS if self._desk.has_room else LONGEST_RETRY_SECONDS
                if given is not None:
                    job = asyncio.create_task(self._perform(given))
                    self._jobs.add(job)
                    job.add_done_callback(self._ended)
                    took = True
                elif not self._desk.has_room:
                    await asyncio.sleep(pause)
            except _Gone:
                self._number = None
            except _Unreachable as error:
                log.warning("worker_cut_off", zone=self._zone, error=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_RETRY_SECONDS)
            finally:
                if not took:
                    self._free.release()

    def _ended(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        self._free.release()

    async def _enrol(self) -> None:
        message = wire.Enrol(
            zone=self._zone, name=worker_name(), version=certwatch.__version__, slots=self._slots
        )
        answer = _decoded(await self._line.post("/v1/workers", wire.encode(message)), wire.Enrolled)
        self._number, self._lease = answer.worker, answer.lease_seconds
        try:
            await asyncio.to_thread(self._spool.note, answer.worker)
        except SpoolError as error:
            # Should it crash now, what it has goes to others by its lease, not at once.
            log.warning("spool_not_written", error=str(error))
        self._lost.use(answer.lease_seconds)
        log.info("worker_ready", zone=self._zone, worker=self._number, jobs=self._slots)

    async def _take(self) -> Claimed | None:
        body = await self._line.post(f"/v1/workers/{self._number}/take")
        if not body:
            return None
        job = _decoded(body, wire.Job)
        return Claimed(
            shard=job.shard,
            claim=job.claim,
            scan=ScanID(job.scan),
            part=job.part,
            parts=job.parts,
            spec=job.spec,
        )

    async def _perform(self, given: Claimed) -> None:
        place = Workplace(env=self._env, clock=self._clock)
        try:
            await perform(given, self._desk, place, self._lost.hold(given))
        finally:
            self._lost.drop(given)

    async def _keep(self) -> None:
        """Raises PushRefused."""
        is_heard = True
        while True:
            await asyncio.sleep(max(1.0, self._lease / KEEPS_A_LEASE / 10))
            if self._number is None:
                continue
            since, held = self._monotonic(), self._lost.held()
            try:
                answer = _decoded(await self._line.post(f"/v1/workers/{self._number}/keep"), wire.Held)
            except _Gone:
                self._number = None
                self._lost.kept(since, frozenset(), held)
            except _Unreachable as error:
                if is_heard:
                    log.warning("worker_not_heard", zone=self._zone, error=str(error))
                is_heard = False
            else:
                is_heard = True
                still = frozenset(answer.held)
                self._lost.kept(since, still, held)
                if still - held:
                    await self._give_back(self._lost.orphans(still, await self._desk.pending()))

    async def _give_back(self, orphans: frozenset[tuple[int, int]]) -> None:
        for shard, claim in orphans:
            log.warning("shard_orphaned", shard=shard)
            with suppress(_Unreachable, _Gone):
                await self._line.post(f"/v1/jobs/{shard}/{claim}/release")

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            if self._lost.expire():
                log.warning("worker_lost_lease", zone=self._zone)


def _decoded(body: bytes, kind: type[M]) -> M:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise PushRefused(f"what answers there is no certwatch of this version: {error}") from error
