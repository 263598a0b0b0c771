"""How a worker that pushes takes what the daemon's port answers, and what stands in the port's place."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from certwatch.inventory.shards import Claimed
from certwatch.model.location import LocationURI
from certwatch.model.observation import Observation, ScanID
from certwatch.plugins.testing import EPOCH, Issued, make_certificate
from certwatch.web.server import HTTPServer, bind
from certwatch.zones import outcome, wire
from certwatch.zones.push import PushRefused, SpoolDesk, Way, _Line, _Unreachable
from certwatch.zones.spool import Message, Spool

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

#: OpenSSL asks the real clock.
LATE = datetime(2100, 1, 1, tzinfo=UTC)
CA = make_certificate(subject="ca", is_ca=True, not_after=LATE, key_number=2)
GIVEN = Claimed(shard=7, claim=3, scan=ScanID(1), part=0, parts=1, spec="{}")
LOOK = Observation(
    location=LocationURI("tls://192.0.2.1:443/"), observed_at=EPOCH, chain=(make_certificate().der,)
)


def certificate(key_number: int) -> Issued:
    return make_certificate(
        names=["dns:worker.example.com", "dns:localhost"], issuer=CA, not_after=LATE, key_number=key_number
    )


def refused(status: int) -> Response:
    return Response(wire.encode(wire.Refused(error="no")), status_code=status)


@dataclass
class Port:
    """In the daemon's place."""

    folder: Path
    url: str = ""
    #: Paths that were asked for, with what was said.
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    answer: Callable[[str], Response] = lambda path: Response(status_code=204)
    #: Cleared: nobody is answered.
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    came: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.asked.append((request.url.path, await request.body()))
        async with self.came:
            self.came.notify_all()
        await self.answers.wait()
        await self.answer(request.url.path)(scope, receive, send)

    async def until(self, count: int) -> None:
        """So many requests have come."""
        async with asyncio.timeout(10), self.came:
            await self.came.wait_for(lambda: len(self.asked) >= count)

    @property
    def way(self) -> Way:
        return Way(
            url=self.url,
            certificate=self.folder / "worker.pem",
            key=self.folder / "worker.key",
            trust=self.folder / "ca.pem",
        )


@asynccontextmanager
async def port(folder: Path) -> AsyncIterator[Port]:
    (folder / "ca.pem").write_bytes(CA.pem)
    for stem in ("server", "worker"):
        (folder / f"{stem}.pem").write_bytes(certificate(3).chain_pem)
        (folder / f"{stem}.key").write_bytes(certificate(3).key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    it = Port(folder)
    it.answers.set()
    server = HTTPServer(bind("127.0.0.1:0"), it, tls=context)
    it.url = server.url.replace("127.0.0.1", "localhost")
    server.start()
    try:
        yield it
    finally:
        it.answers.set()
        await server.stop()


@asynccontextmanager
async def desk(port: Port) -> AsyncIterator[SpoolDesk]:
    spool = Spool(port.folder / "spool", 1 << 20)
    line = _Line(port.way)
    it = SpoolDesk(spool, line, lambda shard, claim: None)
    running = asyncio.create_task(it.run())
    try:
        yield it
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await line.close()
        spool.close()


async def test_a_certificate_that_is_renewed_before_its_key_is_taken_when_both_are_there(
    tmp_path: Path,
) -> None:
    # What was sent meanwhile counted as refused and was thrown away, and the worker ended.
    async with port(tmp_path) as daemon:
        line = _Line(daemon.way)
        await line.post("/a")
        (tmp_path / "worker.pem").write_bytes(certificate(4).chain_pem)
        await line.post("/b")
        (tmp_path / "worker.key").write_bytes(certificate(4).key_pem)
        await line.post("/c")
        await line.close()
        assert [path for path, _ in daemon.asked] == ["/a", "/b", "/c"]


async def test_who_waits_for_an_answer_gets_it_though_the_certificate_is_renewed(tmp_path: Path) -> None:
    async with port(tmp_path) as daemon:
        line = _Line(daemon.way)
        await line.post("/a")
        daemon.answers.clear()
        waiting = asyncio.create_task(line.post("/b"))
        await daemon.until(2)
        for suffix, data in (("pem", certificate(4).chain_pem), ("key", certificate(4).key_pem)):
            (tmp_path / f"worker.{suffix}").write_bytes(data)
        another = asyncio.create_task(line.post("/c"))
        await daemon.until(3)
        daemon.answers.set()
        assert [await waiting, await another] == [b"", b""]
        await line.close()


async def test_a_certificate_that_cannot_be_used_at_all_is_said(tmp_path: Path) -> None:
    async with port(tmp_path) as daemon:
        (tmp_path / "worker.key").write_bytes(certificate(4).key_pem)
        line = _Line(daemon.way)
        with pytest.raises(PushRefused, match="cannot be used"):
            await line.post("/a")


@pytest.mark.parametrize("status", [302, 404, 408, 429, 500, 503])
async def test_what_no_daemon_says_is_no_refusal(tmp_path: Path, status: int) -> None:
    async with port(tmp_path) as daemon:
        daemon.answer = lambda path: Response(b"<html>", status_code=status)
        line = _Line(daemon.way)
        with pytest.raises(_Unreachable):
            await line.post("/a")
        await line.close()


async def test_an_end_that_is_refused_becomes_a_failure(tmp_path: Path) -> None:
    # Else the part counted as lost, and was done again, for a day.
    async with port(tmp_path) as daemon, desk(daemon) as it:
        said = iter([204, 400, 204])
        daemon.answer = lambda path: (
            refused(status) if (status := next(said)) != 204 else Response(status_code=204)
        )
        await it.record(GIVEN, 1, [LOOK], {})
        await it.finish(GIVEN, outcome.Outcome())
        async with asyncio.timeout(10):
            await it.empty.wait()
        assert [path for path, _ in daemon.asked] == [
            "/v1/jobs/7/3/batches/1",
            "/v1/jobs/7/3/end",
            "/v1/jobs/7/3/end",
        ]
        told = outcome.decode(daemon.asked[-1][1])
        assert told.failed is not None
        assert "the daemon refused what was pushed" in told.failed.message


async def test_what_waits_is_kept_when_the_worker_is_not_admitted_any_more(tmp_path: Path) -> None:
    # By a list of zones with a mistake in it, or a CA that was restored from before: all that had been seen was thrown away.
    async with port(tmp_path) as daemon:
        daemon.answer = lambda path: refused(403)
        spool = Spool(tmp_path / "spool", 1 << 20)
        line = _Line(daemon.way)
        it = SpoolDesk(spool, line, lambda shard, claim: None)
        await it.record(GIVEN, 1, [LOOK], {})
        await it.finish(GIVEN, outcome.Outcome())
        async with asyncio.timeout(10):
            with pytest.raises(PushRefused, match="no"):
                await it.run()
        assert len(spool) == 2
        await line.close()
        spool.close()


async def test_looking_goes_on_when_somebody_emptied_a_full_spool(tmp_path: Path) -> None:
    async with port(tmp_path) as daemon:
        spool = Spool(tmp_path / "spool", 1)
        line = _Line(daemon.way)
        it = SpoolDesk(spool, line, lambda shard, claim: None)
        await it.record(GIVEN, 1, [LOOK], {})
        assert not it.has_room
        for each in (tmp_path / "spool").glob("*.message"):
            each.unlink()
        running = asyncio.create_task(it.run())
        async with asyncio.timeout(10):
            await it.record(GIVEN, 2, [LOOK], {})
            await it.empty.wait()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await line.close()
        spool.close()


async def test_a_full_disk_does_not_keep_a_worker_from_sending_what_is_on_it(tmp_path: Path) -> None:
    # It had crashed with a part half done. Were it to end for want of room, again at each start, there would never be any.
    spool = Spool(tmp_path / "spool", 1 << 20)
    spool.put(Message(kind="batch", shard=7, claim=1, number=1, body=b"x"))
    (tmp_path / "spool" / "000000000002.new").mkdir()
    way = Way(url="https://127.0.0.1:1", certificate=tmp_path / "none", key=None, trust=None)
    superseded: list[tuple[int, int]] = []
    desk = SpoolDesk(spool, _Line(way), lambda shard, claim: superseded.append((shard, claim)))

    await desk.begin()
    assert await desk.pending() == {(7, 1)}
    assert superseded == []
    spool.close()
