"""The daemon's port for workers that cannot reach PostgreSQL: who gets what, and what is taken from whom."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from starlette.types import Message, Receive

from certwatch.inventory import open_inventory
from certwatch.inventory.postgresql.store import Line
from certwatch.inventory.postgresql.zones import Zones
from certwatch.inventory.shards import Claimed
from certwatch.inventory.store import Writer
from certwatch.model.location import LocationURI
from certwatch.model.observation import LookError, Observation, ScanID
from certwatch.plugins.testing import EPOCH, FakeClock, Issued, make_certificate
from certwatch.telemetry.metrics import OBSERVATIONS
from certwatch.zones import outcome, wire
from certwatch.zones.counter import (
    MAX_BODIES,
    MAX_ZONE_BODIES,
    Counter,
    NotAdmittedError,
    names_of,
    require_in_force,
)
from certwatch.zones.queue import bring_up
from certwatch.zones.spec import Spec
from certwatch.zones.thread import ZonesThread
from tests.support import postgresql_inventories
from tests.support.asgi import Client

pytestmark = pytest.mark.timeout(60)

LEAF = make_certificate()
OTHER = make_certificate()
DMZ = make_certificate(names=["dns:Worker.DMZ.example.com"])
LAN = make_certificate(names=["uri:spiffe://example.com/lan"])
FAR = make_certificate(names=["dns:worker.far.example.com"])
STRANGER = make_certificate(names=["dns:worker.dmz.example.com.evil.example"])


def spec(kind: str = "tls", **config: Any) -> str:
    return msgspec.json.encode(Spec(name="pushed", kind=kind, labels={"zone": "dmz"}, config=config)).decode()


SPEC = spec(targets=["192.0.2.0/24"])


@dataclass
class Stage:
    url: str
    writer: Writer
    zones: Zones
    counter: Counter
    queue: list[int] = field(default_factory=list)
    #: The last one.
    scan: ScanID | None = None

    def ask(self, path: str, body: bytes = b"", *, who: Issued | None = DMZ, **more: Any) -> httpx.Response:
        client = Client(self.counter.app, client_certificate=None if who is None else who.der)
        return client.post(path, content=body, **more)

    def enrolled(self, who: Issued = DMZ, zone: str = "dmz") -> int:
        body = wire.encode(wire.Enrol(zone=zone, name="host:1", version="1", slots=2))
        answer = self.ask("/v1/workers", body, who=who)
        assert answer.status_code == 200, answer.content
        return msgspec.msgpack.decode(answer.content, type=wire.Enrolled).worker

    def begun(self, parts: int = 1, spec: str = SPEC) -> None:
        self.scan = self.writer.begin_scan("pushed", EPOCH)
        self.zones.open_scan(self.scan, "dmz", spec, [0] * parts)
        self.queue += [each.shard for each in self.zones.advance(self.scan, per_slot=2, least=9).tickets]

    def given(self, worker: int) -> wire.Job:
        answer = self.ask(f"/v1/workers/{worker}/take")
        assert answer.status_code == 200, answer.content
        return msgspec.msgpack.decode(answer.content, type=wire.Job)


@pytest.fixture
def staged() -> Iterator[Stage]:
    with postgresql_inventories.empty() as url:
        bring_up(url)
        thread, handing = ZonesThread(url), ZonesThread(url)
        queue: list[int] = []

        async def take(zone: str) -> int | None:
            return queue.pop(0) if queue and zone == "dmz" else None

        async def identify(der: bytes) -> frozenset[str]:
            return names_of(der)

        allowed = {
            "dmz": ["dns:worker.dmz.example.com"],
            "lan": ["uri:spiffe://example.com/lan"],
            "far": ["dns:worker.far.example.com"],
        }
        counter = Counter(
            thread,
            handing,
            take,
            allowed,
            identify,
            30.0,
            FakeClock(),
            others=lambda zone: frozenset({"edge", "lan"}),
            env={"NETWORK": "192.0.2.0/24"},
        )
        counter.stop()  # who finds no job is told so at once
        with closing(open_inventory(url).writer()) as writer, closing(Zones(url)) as zones:
            yield Stage(url, writer, zones, counter, queue)
        asyncio.run(thread.close())
        asyncio.run(handing.close())


def look(number: int, **more: Any) -> Observation:
    more.setdefault("observed_at", EPOCH)
    more.setdefault("chain", (LEAF.der,))
    return Observation(location=LocationURI(f"tls://192.0.2.{number}:443/"), **more)


def batch(*looks: Observation) -> bytes:
    (body,) = wire.batches(looks)
    return body


def test_a_worker_gets_a_part_and_hands_in_what_it_saw(staged: Stage) -> None:
    worker = staged.enrolled()
    assert staged.ask(f"/v1/workers/{worker}/take").status_code == 204
    staged.begun()
    job = staged.given(worker)
    assert (job.spec, job.part, job.parts) == (SPEC, 0, 1)
    path = f"/v1/jobs/{job.shard}/{job.claim}"
    before = OBSERVATIONS.labels("pushed", "tls", "ok")._value.get()
    assert staged.ask(f"{path}/batches/1", batch(look(1), look(2))).status_code == 204
    # The answer was lost, and it says it again.
    assert staged.ask(f"{path}/batches/1", batch(look(1), look(2))).status_code == 204
    assert OBSERVATIONS.labels("pushed", "tls", "ok")._value.get() == before + 2
    assert staged.ask(f"{path}/batches/3", batch(look(3))).status_code == 409
    kept = staged.ask(f"/v1/workers/{worker}/keep")
    assert msgspec.msgpack.decode(kept.content, type=wire.Held).held == [(job.shard, job.claim)]
    said = outcome.encode(outcome.Outcome(outcomes={"ok": 99}, unchanged=["x"], batches=1)).encode()
    assert staged.ask(f"{path}/end", said).status_code == 204
    assert staged.ask(f"{path}/end", said).status_code == 204
    assert staged.scan is not None
    (ended,) = staged.zones.ended(staged.scan)
    told = outcome.together([ended])
    assert (told.unchanged, told.counted.outcomes) == ({"x"}, {})
    scan = staged.writer.finish_scan(staged.scan, (), EPOCH)
    assert (scan.observations, scan.errors) == (2, 0)
    with closing(open_inventory(staged.url).reader()) as reader:
        served = reader.served(LocationURI("tls://192.0.2.1:443/"))
    assert served is not None
    assert served.location.labels == {"zone": "dmz"}
    assert staged.ask(f"/v1/workers/{worker}/leave").status_code == 204
    assert staged.ask(f"/v1/workers/{worker}/keep").status_code == 410


def test_who_waits_for_a_turn_keeps_nobody_from_saying_that_he_lives(staged: Stage) -> None:
    # Behind a batch that waited for another's long step, all workers fell silent, and lost what they had.
    worker = staged.enrolled()
    staged.begun()
    job = staged.given(worker)
    with ThreadPoolExecutor(1) as others, closing(Line(staged.url)) as line:
        with line.writing():
            path = f"/v1/jobs/{job.shard}/{job.claim}/batches/1"
            recording = others.submit(staged.ask, path, batch(look(1)))
            while not waits_for_a_turn(staged.url):
                assert not recording.done()
            assert staged.ask(f"/v1/workers/{worker}/keep").status_code == 200
            assert not recording.done()
        assert recording.result(30).status_code == 204


def waits_for_a_turn(url: str) -> bool:
    with postgresql_inventories.server().administrator(url.rpartition("/")[2]) as connection:
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return bool(connection.exec_driver_sql(waiting).scalar_one())


def test_nobody_comes_without_a_certificate_that_names_a_zone(staged: Stage) -> None:
    body = wire.encode(wire.Enrol(zone="dmz", name="x", version="1", slots=1))
    assert staged.ask("/v1/workers", body, who=None).status_code == 403
    refused = staged.ask("/v1/workers", body, who=STRANGER)
    assert refused.status_code == 403
    assert b"may work for no zone" in refused.content
    assert staged.ask("/v1/workers", body, who=make_certificate(names=[])).status_code == 403


def test_a_certificate_that_has_run_out_ends_what_an_open_connection_may() -> None:
    require_in_force(DMZ.der, EPOCH)
    for now in (EPOCH + timedelta(days=61), EPOCH - timedelta(days=31)):
        with pytest.raises(NotAdmittedError, match="not in force"):
            require_in_force(DMZ.der, now)


def test_nothing_of_another_zone_is_given_or_taken(staged: Stage) -> None:
    body = wire.encode(wire.Enrol(zone="dmz", name="x", version="1", slots=1))
    assert staged.ask("/v1/workers", body, who=LAN).status_code == 403
    worker, other = staged.enrolled(), staged.enrolled(LAN, "lan")
    staged.begun()
    job = staged.given(worker)
    path = f"/v1/jobs/{job.shard}/{job.claim}"
    for what, said in (("batches/1", batch(look(1))), ("end", b"{}"), ("release", b"")):
        assert staged.ask(f"{path}/{what}", said, who=LAN).status_code == 403
    for what in ("keep", "take", "leave"):
        assert staged.ask(f"/v1/workers/{worker}/{what}", who=LAN).status_code == 403
    assert staged.ask(f"/v1/workers/{other}/take", who=LAN).status_code == 204


def test_a_claim_that_is_another_ones_by_now_is_gone(staged: Stage) -> None:
    worker = staged.enrolled()
    staged.begun()
    job = staged.given(worker)
    path = f"/v1/jobs/{job.shard}/{job.claim}"
    assert staged.ask(f"{path}/release").status_code == 204
    other = staged.zones.enrol("dmz", "other", "postgresql", "1", slots=1, lease_seconds=30)
    assert isinstance(staged.zones.claim(job.shard, other), Claimed)
    assert staged.ask(f"{path}/batches/1", batch(look(1))).status_code == 410
    assert staged.ask(f"{path}/end", b"{}").status_code == 410
    assert staged.ask(f"/v1/jobs/{job.shard + 99}/1/end", b"{}").status_code == 410
    assert staged.ask(f"/v1/jobs/{10**30}/{10**30}/end", b"{}").status_code == 410
    assert staged.ask(f"/v1/workers/{10**30}/keep").status_code == 410


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{}",
        b"\xc1",
        batch(look(1, observed_at=EPOCH + timedelta(minutes=6))),
        batch(*(look(number, chain=(b"",) * 7_000) for number in (1, 2, 3))),
        batch(
            Observation(
                location=LocationURI("file:///etc/ssl/site.pem"), observed_at=EPOCH, chain=(LEAF.der,)
            )
        ),
        batch(
            Observation(
                location=LocationURI("aws://1/x"), observed_at=EPOCH, error=LookError(kind="dns", message="")
            )
        ),
    ],
    ids=[
        "empty",
        "json",
        "garbage",
        "future",
        "too many certificates",
        "a file from a tls collector",
        "a cloud from a tls collector",
    ],
)
def test_what_cannot_be_is_refused_and_nothing_of_it_kept(staged: Stage, said: bytes) -> None:
    worker = staged.enrolled()
    staged.begun()
    job = staged.given(worker)
    path = f"/v1/jobs/{job.shard}/{job.claim}"
    refused = staged.ask(f"{path}/batches/1", said)
    assert refused.status_code == 400, refused.content
    with closing(open_inventory(staged.url).reader()) as reader:
        assert list(reader.live()) == []
    # What is right is taken in its place.
    assert staged.ask(f"{path}/batches/1", batch(look(1))).status_code == 204


def served_by(staged: Stage, collector: str, *places: LocationURI) -> None:
    scan = staged.writer.begin_scan(collector, EPOCH)
    looks = [Observation(location=each, observed_at=EPOCH, chain=(OTHER.der,)) for each in places]
    staged.writer.record(scan, looks)
    staged.writer.finish_scan(scan, (), EPOCH)


def leaf_at(staged: Stage, place: LocationURI) -> bytes:
    with closing(open_inventory(staged.url).reader()) as reader:
        served = reader.served(place)
    assert served is not None
    return served.chain[0].der


def test_a_worker_is_believed_nothing_of_places_that_its_collector_is_not_led_to(staged: Stage) -> None:
    # One that was taken over could say of any place of any zone what is served there.
    place, shared = LocationURI("tls://198.51.100.1:443/"), look(7)
    served_by(staged, "edge", place, shared.location)
    worker = staged.enrolled()
    staged.begun()
    job = staged.given(worker)
    path = f"/v1/jobs/{job.shard}/{job.claim}"
    strange = Observation(location=place, observed_at=EPOCH, chain=(LEAF.der,))
    refused = staged.ask(f"{path}/batches/1", batch(look(1), strange))
    assert refused.status_code == 400
    assert msgspec.msgpack.decode(refused.content, type=wire.Refused).error == (
        "tls://198.51.100.1:443/: no place that the config of pushed (tls) leads to"
    )
    assert leaf_at(staged, place) == OTHER.der
    # What both look at is believed of both.
    assert staged.ask(f"{path}/batches/1", batch(look(1), shared)).status_code == 204
    assert leaf_at(staged, shared.location) == LEAF.der


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        (spec(http_sd=["https://cmdb.example.com/targets"]), "tls"),
        (spec(targets=["${NETWORK}"]), "tls"),
        (spec(kind="cloudflare", token="x"), "cloudflare"),
    ],
    ids=["a list elsewhere", "the worker's own word", "a plug-in that does not tell"],
)
def test_of_places_that_nobody_can_tell_those_of_others_are_refused(
    staged: Stage, written: str, kind: str
) -> None:
    scheme = "tls" if kind == "tls" else "cloudflare"
    free, others, own = (LocationURI(f"{scheme}://198.51.100.{number}:443/") for number in range(1, 4))
    served_by(staged, "edge", others, own)
    # Of the same zone.
    served_by(staged, "also-pushed", own)
    worker = staged.enrolled()
    staged.begun(spec=written)
    job = staged.given(worker)
    path = f"/v1/jobs/{job.shard}/{job.claim}"

    def said(place: LocationURI) -> Observation:
        return Observation(location=place, observed_at=EPOCH, chain=(LEAF.der,))

    refused = staged.ask(f"{path}/batches/1", batch(said(free), said(others)))
    assert refused.status_code == 400
    assert msgspec.msgpack.decode(refused.content, type=wire.Refused).error == (
        f"{others}: only collectors that are not of this zone watch it. If this one shall as well, name it in its own config"
    )
    assert leaf_at(staged, others) == OTHER.der
    assert staged.ask(f"{path}/batches/1", batch(said(free), said(own))).status_code == 204
    assert leaf_at(staged, own) == leaf_at(staged, free) == LEAF.der
    # Who watched it does so no more.
    scan = staged.writer.begin_scan("edge", EPOCH)
    staged.writer.finish_scan(scan, (), EPOCH)
    assert staged.ask(f"{path}/batches/2", batch(said(others))).status_code == 204
    assert leaf_at(staged, others) == LEAF.der


def test_what_is_too_large_is_refused_before_it_is_read(staged: Stage) -> None:
    worker = staged.enrolled()
    staged.begun()
    job = staged.given(worker)
    path = f"/v1/jobs/{job.shard}/{job.claim}"
    assert staged.ask(f"{path}/batches/1", b"x" * (wire.MAX_BYTES + 1)).status_code == 413
    assert staged.ask(f"{path}/end", b"x" * (outcome.MAX_BYTES + 1)).status_code == 413
    assert staged.ask("/v1/workers", b"x" * (65 << 10)).status_code == 413
    assert MAX_BODIES * wire.MAX_BYTES <= 256 << 20


@pytest.mark.parametrize("what", ["batches/1", "end"])
def test_slow_senders_of_several_zones_keep_no_other_zone_waiting(staged: Stage, what: str) -> None:
    # Those of two zones had every place for as long as a request may take; how parts end was read without any bound.
    paths: dict[str, str] = {}
    for zone in ("dmz", "lan", "far"):
        scan = staged.writer.begin_scan(zone, EPOCH)
        staged.zones.open_scan(scan, zone, SPEC, [0])
        (ticket,) = staged.zones.advance(scan, per_slot=2, least=9).tickets
        worker = staged.zones.enrol(zone, zone, "push", "1", slots=1, lease_seconds=30)
        given = staged.zones.claim(ticket.shard, worker)
        assert given is not None
        paths[zone] = f"/v1/jobs/{given.shard}/{given.claim}"
    begun, full = list[int](), asyncio.Event()

    async def never_ending() -> AsyncIterator[bytes]:
        yield b"{"
        begun.append(1)
        if len(begun) == 2 * MAX_ZONE_BODIES:
            full.set()
        await asyncio.Event().wait()

    def client(who: Issued) -> httpx.AsyncClient:
        app = Client(staged.counter.app, client_certificate=who.der)
        return httpx.AsyncClient(transport=httpx.ASGITransport(app._answer), base_url="https://daemon.test")

    async def tried() -> None:
        async with client(DMZ) as dmz, client(LAN) as lan, client(FAR) as far, asyncio.timeout(20):
            slow = [
                asyncio.create_task(each.post(f"{paths[zone]}/{what}", content=never_ending()))
                for each, zone in ((dmz, "dmz"), (lan, "lan"))
                for _ in range(MAX_BODIES)
            ]
            await full.wait()
            answer = await far.post(f"{paths['far']}/batches/1", content=batch(look(1)))
            assert answer.status_code == 204
            for each in slow:
                each.cancel()
            await asyncio.wait(slow)
            # They have given their places back.
            answer = await dmz.post(f"{paths['dmz']}/batches/1", content=batch(look(2)))
            assert answer.status_code == 204
            assert len(begun) == 2 * MAX_ZONE_BODIES

    asyncio.run(tried())


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[]",
        b'{"more": 1}',
        b'{"incomplete": [{"kind": "invented", "message": ""}]}',
        # Nobody knows when that is, and the scan could never be ended.
        b'{"continued": {"10.0.0.0/8": "2026-11-01T12:00:00"}}',
        b'{"failed": {"kind": "dns", "message": "' + b"x" * 70_000 + b'"}}',
    ],
)
def test_an_end_that_cannot_be_is_refused(staged: Stage, said: bytes) -> None:
    worker = staged.enrolled()
    staged.begun()
    job = staged.given(worker)
    assert staged.ask(f"/v1/jobs/{job.shard}/{job.claim}/end", said).status_code == 400
    assert staged.scan is not None
    assert staged.zones.ended(staged.scan) == []


def test_a_connection_that_breaks_off_in_a_message_is_no_fault_of_ours(staged: Stage) -> None:
    worker = staged.enrolled()
    staged.begun()
    job = staged.given(worker)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    path = f"/v1/jobs/{job.shard}/{job.claim}"
    assert asyncio.run(answered(staged, f"{path}/batches/1", DMZ, receive)) == 400
    assert staged.ask(f"{path}/batches/1", batch(look(1))).status_code == 204


def test_senders_of_one_zone_that_stand_still_keep_no_other_zone_waiting(staged: Stage) -> None:
    staged.begun()
    job = staged.given(staged.enrolled())
    scan = staged.writer.begin_scan("other", EPOCH)
    staged.zones.open_scan(scan, "lan", SPEC, [0])
    (ticket,) = staged.zones.advance(scan, per_slot=2, least=1).tickets
    other = staged.zones.claim(ticket.shard, staged.enrolled(LAN, "lan"))
    assert other is not None

    async def both() -> int:
        begun = asyncio.Semaphore(0)

        async def never() -> Message:
            begun.release()
            await asyncio.Event().wait()
            raise AssertionError

        async def whole() -> Message:
            return {"type": "http.request", "body": batch(look(1)), "more_body": False}

        slow = [
            asyncio.create_task(answered(staged, f"/v1/jobs/{job.shard}/{job.claim}/batches/1", DMZ, never))
            for _ in range(2 * MAX_BODIES)
        ]
        for _ in range(MAX_ZONE_BODIES):
            await begun.acquire()
        path = f"/v1/jobs/{other.shard}/{other.claim}/batches/1"
        try:
            return await asyncio.wait_for(answered(staged, path, LAN, whole), 5)
        finally:
            for each in slow:
                each.cancel()
            await asyncio.wait(slow)

    assert asyncio.run(both()) == 204


async def answered(staged: Stage, path: str, who: Issued, receive: Receive) -> int:
    """The status of the answer to a POST whose body comes as `receive` has it."""
    statuses: list[int] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "state": {"client_certificate": who.der},
    }
    await staged.counter.app(scope, receive, send)
    (status,) = statuses
    return status
