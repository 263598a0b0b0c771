"""Where workers come that cannot reach PostgreSQL: they get shards, and hand in what they saw, over HTTPS.

Who comes is told by a client certificate, whose names say for which zones it may work; it gets, and hands in, nothing of
another zone. What is handed in is numbered, so that it counts once however often it comes.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import msgspec
from cryptography import x509
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from certwatch.config.mistakes import ConfigError
from certwatch.engine.counted import Counted
from certwatch.inventory.postgresql.zones import Zones
from certwatch.inventory.shards import (
    Claimed,
    Foreign,
    MissingBatchError,
    OthersPlaceError,
    SupersededError,
)
from certwatch.inventory.store import InventoryError, Recorded
from certwatch.model.clock import Clock
from certwatch.model.observation import Observation, ScanID
from certwatch.plugins import registry
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import ZONE_PUSHES
from certwatch.zones import outcome, wire
from certwatch.zones.bounds import Bounds
from certwatch.zones.spec import Spec, read_spec
from certwatch.zones.thread import ZonesThread

log = get_logger(__name__)

TYPE = "application/vnd.msgpack"
#: A worker that waits for a job is answered after this, whatever comes.
TAKE_SECONDS = 20.0
#: Between two looks into the queue for one that waits.
POLL_SECONDS = 0.5
#: A pushing worker keeps its shards for so many leases: its spool outlives a network that is down for a while.
LEASES = 10
#: A look from later than this is of a clock that is wrong.
AHEAD = timedelta(minutes=5)
#: What is handed in at once: from when it is read until it is recorded; and of one zone, while it is sent. Who comes with more
#: waits. Senders that are slow keep no other zone waiting.
MAX_BODIES, MAX_ZONE_BODIES = 8, 4

Identify = Callable[[bytes], Awaitable[frozenset[str]]]
M = TypeVar("M", bound=msgspec.Struct)
T = TypeVar("T")


class NotAdmittedError(Exception):
    """Whoever it is may not come here. The message says why."""


def names_of(der: bytes) -> frozenset[str]:
    """What a certificate that was verified calls its holder: "dns:…", "uri:…", "email:…", "ip:…". Raises NotAdmittedError."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise NotAdmittedError("the client certificate has no names") from error
    found = []
    for each in names:
        if isinstance(each, x509.DNSName):
            found.append(f"dns:{each.value.lower()}")
        elif isinstance(each, x509.UniformResourceIdentifier):
            found.append(f"uri:{each.value}")
        elif isinstance(each, x509.RFC822Name):
            found.append(f"email:{each.value}")
        elif isinstance(each, x509.IPAddress):
            found.append(f"ip:{each.value}")
    return frozenset(found)


def require_in_force(der: bytes, now: datetime) -> None:
    """The handshake has asked, and a connection may be older than the certificate became. Raises NotAdmittedError."""
    certificate = x509.load_der_x509_certificate(der)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise NotAdmittedError("the client certificate is not in force")


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    names: frozenset[str]
    zones: frozenset[str]


class Counter:
    """Owned by the event loop's thread. Its owner closes the threads that it is given."""

    def __init__(
        self,
        zones: ZonesThread,
        handing: ZonesThread,
        take: Callable[[str], Awaitable[int | None]],
        allowed: Mapping[str, Sequence[str]],
        identify: Identify,
        lease_seconds: float,
        clock: Clock,
        *,
        others: Callable[[str], frozenset[str]],
        env: Mapping[str, str] = os.environ,
    ) -> None:
        """`handing`: for what is handed in, which waits for its turn among all that write, so that nobody falls silent meanwhile.
        `take`: the next shard in a zone's queue; None: there is none now. `allowed`: by zone, names of certificates.
        `identify`: the names of a certificate that TLS has verified; raises NotAdmittedError. `others`: collectors that are not
        of a zone. `env`: what `${NAME}` in a config means here."""
        self._zones = zones
        self._handing = handing
        self._take = take
        self._allowed = allowed
        self._identify = identify
        self._lease = lease_seconds * LEASES
        self._clock = clock
        self._others = others
        self._bounds = Bounds(env, clock)
        worker, job = "/v1/workers/{worker:int}", "/v1/jobs/{shard:int}/{claim:int}"
        self.app = Starlette(
            routes=[
                Route("/v1/workers", self._answered(self.enrol), methods=["POST"]),
                Route(f"{worker}/keep", self._answered(self.keep), methods=["POST"]),
                Route(f"{worker}/take", self._answered(self.take), methods=["POST"]),
                Route(f"{worker}/leave", self._answered(self.leave), methods=["POST"]),
                Route(f"{job}/batches/{{number:int}}", self._answered(self.record), methods=["POST"]),
                Route(f"{job}/end", self._answered(self.finish), methods=["POST"]),
                Route(f"{job}/release", self._answered(self.release), methods=["POST"]),
            ]
        )
        self.app.router.redirect_slashes = False
        self._stopping = False
        self._bodies = asyncio.Semaphore(MAX_BODIES)
        self._zone_bodies = {zone: asyncio.Semaphore(MAX_ZONE_BODIES) for zone in allowed}

    def stop(self) -> None:
        """Whoever waits for a job is answered at once."""
        self._stopping = True

    def _answered(
        self, answer: Callable[[Request, Visitor], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answered(request: Request) -> Response:
            try:
                visitor = await self._visitor(request)
                said = await answer(request, visitor)
            except NotAdmittedError as error:
                log.warning("push_not_admitted", path=request.url.path, reason=str(error))
                said = _refuse(403, str(error))
            except SupersededError as error:
                said = _refuse(410, str(error))
            except MissingBatchError as error:
                said = _refuse(409, str(error))
            except ClientDisconnect:
                # A network that fails, a worker that is killed: it comes again.
                said = _refuse(400, "the connection ended before the message did")
            except (msgspec.MsgspecError, ValueError, OthersPlaceError) as error:
                log.warning("push_refused", path=request.url.path, error=str(error)[:500])
                said = _refuse(400, str(error)[:500])
            except ConfigError as error:
                said = _refuse(400, "; ".join(error.messages))
            except InventoryError as error:
                log.warning("push_not_recorded", reason=error.kind, error=error.message)
                said = _refuse(503, "the inventory cannot be written now: come again")
            ZONE_PUSHES.labels(str(said.status_code)).inc()
            return said

        return answered

    async def _visitor(self, request: Request) -> Visitor:
        presented = request.scope.get("state", {}).get("client_certificate")
        if presented is None:
            raise NotAdmittedError("come with a client certificate")
        names = await self._identify(presented)
        zones = frozenset(zone for zone, allowed in self._allowed.items() if not names.isdisjoint(allowed))
        if not zones:
            raise NotAdmittedError(
                f"{', '.join(sorted(names)) or 'nobody'} may work for no zone (workers: zones)"
            )
        return Visitor(names=names, zones=zones)

    async def enrol(self, request: Request, visitor: Visitor) -> Response:
        wanted = await _read(request, wire.Enrol)
        if wanted.zone not in visitor.zones:
            raise NotAdmittedError(
                f"{', '.join(sorted(visitor.names))} may not work for zone {wanted.zone!r} (workers: zones)"
            )
        name = f"{wanted.name} ({sorted(visitor.names)[0]})"
        worker = await self._zones.call(
            lambda zones: zones.enrol(
                wanted.zone, name, "push", wanted.version, slots=wanted.slots, lease_seconds=self._lease
            )
        )
        log.info("push_worker_enrolled", zone=wanted.zone, worker=worker, name=name)
        return _say(wire.Enrolled(worker=worker, lease_seconds=self._lease))

    async def keep(self, request: Request, visitor: Visitor) -> Response:
        worker, _ = await self._worker(request, visitor)
        held = await self._zones.call(lambda zones: zones.keep(worker))
        if held is None:
            return _refuse(410, "forgotten: enrol again")
        return _say(wire.Held(held=sorted(held)))

    async def take(self, request: Request, visitor: Visitor) -> Response:
        """204: there is nothing to do now."""
        worker, zone = await self._worker(request, visitor)
        loop = asyncio.get_running_loop()
        until = loop.time() + TAKE_SECONDS
        while True:
            while (shard := await self._take(zone)) is not None:
                given = await self._zones.call(partial(_claim, shard, worker))
                if given is not None:
                    return _say(
                        wire.Job(
                            shard=given.shard,
                            claim=given.claim,
                            scan=given.scan,
                            part=given.part,
                            parts=given.parts,
                            spec=given.spec,
                        )
                    )
            if self._stopping or loop.time() > until or await request.is_disconnected():
                return Response(status_code=204)
            await asyncio.sleep(POLL_SECONDS)

    async def leave(self, request: Request, visitor: Visitor) -> Response:
        worker, _ = await self._worker(request, visitor)
        await self._zones.call(lambda zones: zones.leave(worker))
        return Response(status_code=204)

    async def record(self, request: Request, visitor: Visitor) -> Response:
        given, zone = await self._given(request, visitor)
        spec = await asyncio.to_thread(read_spec, given.spec)
        reading = partial(self._batch, given, request.path_params["number"], spec, zone)
        looks, done = await self._handed_in(request, zone, wire.MAX_BYTES, reading)
        if done is not None:
            Counted.of(looks, done.nothing_there).tell(spec.name, spec.kind)
        return Response(status_code=204)

    async def _handed_in(
        self, request: Request, zone: str, most: int, reading: Callable[[bytes], Callable[[Zones], T]]
    ) -> T:
        """What the step that is read from the body comes to. Raises HTTPException 413, and what the two raise."""
        async with self._zone_bodies[zone]:
            body = await _body(request, most)
            await self._bodies.acquire()
        handing: asyncio.Task[T] | None = None
        try:
            step = await asyncio.to_thread(reading, body)
            handing = asyncio.create_task(self._handing.call(step))
            handing.add_done_callback(self._recorded)
            return await asyncio.shield(handing)
        finally:
            if handing is None:
                self._bodies.release()

    def _recorded(self, recording: asyncio.Task[Any]) -> None:
        # Not before: of who was told to come again, the batch is still in memory.
        self._bodies.release()
        if not recording.cancelled():
            recording.exception()

    def _batch(
        self, given: Claimed, number: int, spec: Spec, zone: str, body: bytes
    ) -> Callable[[Zones], tuple[list[Observation], Recorded | None]]:
        """Raises msgspec.MsgspecError, ValueError, ConfigError."""
        looks = self._looks(spec, body)
        unsure = self._bounds.unsure(given.spec, [each.location for each in looks])
        foreign = Foreign(places=unsure, collectors=self._others(zone)) if unsure else None
        return lambda zones: (looks, zones.record(given, number, looks, spec.labels, foreign=foreign))

    def _looks(self, spec: Spec, body: bytes) -> list[Observation]:
        """Raises msgspec.MsgspecError, ValueError."""
        looks = wire.observations(body)
        kinds = getattr(registry.load("collectors", spec.kind), "location_kinds", None)
        strange = next(
            (each for each in looks if kinds and each.location.partition(":")[0] not in kinds), None
        )
        if strange is not None:
            raise ValueError(f"{strange.location}: no place that a {spec.kind} collector sees")
        latest = self._clock() + AHEAD
        ahead = next((each for each in looks if each.observed_at > latest), None)
        if ahead is not None:
            raise ValueError(
                f"a look at {ahead.location} is said to be of {ahead.observed_at:%Y-%m-%dT%H:%M:%SZ}, which is yet to come:"
                " set the worker's clock"
            )
        return looks

    async def finish(self, request: Request, visitor: Visitor) -> Response:
        given, zone = await self._given(request, visitor)
        await self._handed_in(request, zone, outcome.MAX_BYTES, partial(_end, given))
        return Response(status_code=204)

    async def release(self, request: Request, visitor: Visitor) -> Response:
        given, _ = await self._given(request, visitor)
        failed = request.query_params.get("failed") == "1"
        await self._zones.call(lambda zones: zones.release(given.shard, given.claim, failed=failed))
        return Response(status_code=204)

    async def _worker(self, request: Request, visitor: Visitor) -> tuple[int, str]:
        """Number and zone. Raises SupersededError: it is not enrolled any more."""
        worker = request.path_params["worker"]
        zone = await self._zones.call(lambda zones: zones.zone_of_worker(worker)) if _fits(worker) else None
        if zone is None:
            raise SupersededError("forgotten: enrol again")
        if zone not in visitor.zones:
            raise NotAdmittedError(
                f"worker {worker} is of a zone that {', '.join(sorted(visitor.names))} is not for"
            )
        return worker, zone

    async def _given(self, request: Request, visitor: Visitor) -> tuple[Claimed, str]:
        """What is meant, and its zone. Raises SupersededError, NotAdmittedError."""
        shard, claim = request.path_params["shard"], request.path_params["claim"]
        found = None
        if _fits(shard) and _fits(claim):
            found = await self._zones.call(lambda zones: zones.zone_of(shard))
        if found is None:
            raise SupersededError(f"shard {shard}: its scan is over")
        zone, spec, scan = found
        if zone not in visitor.zones:
            raise NotAdmittedError(
                f"shard {shard} is of a zone that {', '.join(sorted(visitor.names))} is not for"
            )
        return Claimed(shard=shard, claim=claim, scan=ScanID(scan), part=0, parts=1, spec=spec), zone


def _fits(number: int) -> bool:
    return 0 <= number < 1 << 31


def _claim(shard: int, worker: int, zones: Zones) -> Claimed | None:
    return zones.claim(shard, worker)


def _end(given: Claimed, body: bytes) -> Callable[[Zones], None]:
    """Raises msgspec.MsgspecError."""
    # What the looks were is counted where they are recorded.
    told = msgspec.structs.replace(outcome.decode(body), outcomes={}, handshakes=[])
    text = outcome.encode(told)
    return lambda zones: zones.finish(given, text, batches=told.kept)


async def _body(request: Request, most: int = wire.MAX_BYTES) -> bytes:
    """Raises HTTPException 413."""
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise HTTPException(413, f"at most {most} bytes")
        pieces.append(piece)
    return b"".join(pieces)


async def _read(request: Request, kind: type[M]) -> M:
    return msgspec.msgpack.decode(await _body(request, 64 << 10), type=kind)


def _say(message: msgspec.Struct) -> Response:
    return Response(wire.encode(message), media_type=TYPE)


def _refuse(status: int, why: str) -> Response:
    return Response(wire.encode(wire.Refused(error=why)), status_code=status, media_type=TYPE)
