"""What every exporter promises, whatever it tells and whomever: one suite, all of them, each sink of its own."""

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from certwatch.model.certificate import Name
from certwatch.model.finding import Finding
from certwatch.model.location import Location, LocationURI, file_location
from certwatch.model.observation import LookError, Scan
from certwatch.model.sighting import Served
from certwatch.plugins import registry
from certwatch.plugins.exporter import Exporter, ExporterContext, News
from certwatch.plugins.testing import FakeClock
from tests.exporters.test_events import CERTIFICATE, FINDING, SERVED
from tests.exporters.test_events_syslog import Receiver, parsed, receiver
from tests.support.kubernetes import kubeconfig
from tests.support.web_server import Request, WebServer, web_server

pytestmark = pytest.mark.anyio


@dataclass
class View:
    served_now: list[Served] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def live(self) -> Iterator[Served]:
        yield from self.served_now

    def open_findings(self) -> Iterator[Finding]:
        yield from self.findings

    def served(self, uri: str) -> Served | None:
        return next((each for each in self.served_now if each.location.uri == uri), None)

    def last_scans(self) -> tuple[Scan, ...]:
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    kind: str
    #: Its config, for a far side at this port and a folder.
    config: Callable[[int, Path], dict[str, Any]]
    #: How it tells: "asked", "http", "octets", "datagrams", "file".
    way: str
    #: Where the findings are that it tells of. Empty: anywhere.
    location: str = ""

    def of(self, finding: Finding) -> Finding:
        return replace(finding, location=LocationURI(self.location)) if self.location else finding


def _cluster(port: int, folder: Path) -> dict[str, Any]:
    path = folder / "kubeconfig"
    if not path.exists():
        path.write_text(yaml.safe_dump(kubeconfig([("prod", f"http://127.0.0.1:{port}", b"", "token")])))
    return {"cluster": "prod", "kubeconfig": str(path)}


CASES = {
    "prometheus": Case(kind="prometheus", config=lambda port, folder: {}, way="asked"),
    "alertmanager": Case(
        kind="alertmanager", config=lambda port, folder: {"urls": [f"http://127.0.0.1:{port}"]}, way="http"
    ),
    "events-file": Case(
        kind="events", config=lambda port, folder: {"path": str(folder / "events")}, way="file"
    ),
    "events-tcp": Case(
        kind="events",
        config=lambda port, folder: {"syslog": {"address": f"tcp://127.0.0.1:{port}"}},
        way="octets",
    ),
    "events-unix": Case(
        kind="events",
        config=lambda port, folder: {"syslog": {"address": f"unix://{folder}/log"}},
        way="datagrams",
    ),
    "events-bulk": Case(
        kind="events", config=lambda port, folder: {"bulk": {"url": f"http://127.0.0.1:{port}"}}, way="http"
    ),
    "notify": Case(
        kind="notify",
        config=lambda port, folder: {"urls": [f"webhook+http://127.0.0.1:{port}/"], "group_wait": 0},
        way="http",
    ),
    "kubernetes-events": Case(
        kind="kubernetes-events",
        config=_cluster,
        way="http",
        location="k8s://prod/pay/secret/web?key=tls.crt",
    ),
}
HOSTILE = "www.exa\0mple\r\n\u202ecom\u2028\ud800<b>'\"]}\\ " + "x" * 100_000
HOSTILE_SERVED = replace(
    SERVED,
    chain=(
        replace(
            CERTIFICATE,
            subject="CN=" + HOSTILE,
            issuer=HOSTILE,
            names=(Name("dns:" + HOSTILE), Name("email:" + HOSTILE)),
            signature_algorithm=HOSTILE,
        ),
    ),
    location=Location(uri=file_location("/etc/\udcff\n" + "y" * 5000), labels={HOSTILE: HOSTILE, "a.b": "c"}),
    facts={"tls_version": HOSTILE, "cipher": HOSTILE},
    error=LookError(kind="other", message=HOSTILE),
    owner=HOSTILE,
)
HOSTILE_FINDING = replace(
    FINDING,
    location=HOSTILE_SERVED.location.uri,
    summary=HOSTILE,
    text=HOSTILE,
    owner=HOSTILE,
)


def make(case: Case, port: int, folder: Path, view: View | None = None) -> Exporter:
    plugin = registry.load("exporters", case.kind)
    context = ExporterContext(
        clock=FakeClock(),
        view=view or View(),
        external_url="https://c.example.com",
        state_folder=folder / "state",
    )
    made: Exporter = plugin("it", plugin.Config.model_validate(case.config(port, folder)), context)
    return made


@asynccontextmanager
async def life(exporter: Exporter) -> AsyncIterator["asyncio.Task[None]"]:
    await exporter.start()
    task = asyncio.create_task(exporter.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled() or task.exception() is None, task.exception()


_watched: list[str] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is not None and event in (
        "open",
        "os.mkdir",
        "socket.connect",
        "socket.bind",
        "subprocess.Popen",
    ):
        _watched.append(f"{event} {arguments[:2]}")


sys.addaudithook(_audit)


@pytest.mark.parametrize("name", CASES)
async def test_making_one_does_no_io(name: str, tmp_path: Path) -> None:
    global _watched
    make(CASES[name], 9, tmp_path)  # what is imported on first use has been
    _watched = []
    try:
        make(CASES[name], 9, tmp_path)
        assert _watched == []
    finally:
        _watched = None


@pytest.mark.parametrize("name", CASES)
async def test_it_starts_with_an_empty_inventory_and_again_after_news_was_lost(
    name: str, tmp_path: Path
) -> None:
    view, case = View(), CASES[name]
    async with far_side(case.way, tmp_path) as far:
        exporter = make(case, far.port, tmp_path, view)
        async with life(exporter):
            await exporter.publish(News())
            await exporter.publish(News(changed=(SERVED,), opened=(case.of(FINDING),)))
            view.served_now, view.findings = [SERVED], [case.of(FINDING)]
            await exporter.start()
            await exporter.publish(News(resolved=(case.of(FINDING),), retired=(SERVED,)))
        list(exporter.routes())


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].way != "asked"])
async def test_a_far_side_that_hangs_delays_neither_publish_nor_the_end(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    async with hanging(case.way, tmp_path) as port:
        exporter = make(case, port, tmp_path)
        # The promise is 5 s; here it is made short.
        module = sys.modules[type(exporter).__module__]
        assert module.LAST_ATTEMPT_SECONDS < 5
        monkeypatch.setattr(module, "LAST_ATTEMPT_SECONDS", 0.2)
        await exporter.start()
        task = asyncio.create_task(exporter.run())
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(20):
            await exporter.publish(News(changed=(SERVED,) * 20, opened=(case.of(FINDING),)))
        assert loop.time() - began < 3
        task.cancel()
        began = loop.time()
        _, late = await asyncio.wait([task], timeout=5)
        assert not late
        assert loop.time() - began < 3


@pytest.mark.parametrize("name", CASES)
async def test_hostile_names_break_nothing_of_what_it_tells(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    async with far_side(case.way, tmp_path) as far:
        exporter = make(case, far.port, tmp_path)
        async with life(exporter):
            await exporter.publish(
                News(changed=(HOSTILE_SERVED, SERVED), opened=(case.of(HOSTILE_FINDING), case.of(FINDING)))
            )
            if case.way == "asked":
                await asked(exporter)
            else:
                await far.until(lambda: "www.example.com expires" in "".join(far.told()))
    for text in far.told():
        assert "\x00" not in text and "\r" not in text
        text.encode()


@dataclass
class FarSide:
    port: int
    #: What came, each message as it is framed, decoded.
    told: Callable[[], list[str]]
    until: Callable[[Callable[[], bool]], Any]


@asynccontextmanager
async def far_side(way: str, folder: Path) -> AsyncIterator[FarSide]:
    """One that takes everything."""
    if way == "http":

        async def handle(request: Request) -> tuple[int, bytes]:
            # Whoever asked: _bulk, or the list of objects of an API server.
            return 200, (
                b'{"errors":false,"kind":"List","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"uid":"1"}}]}'
            )

        async with web_server(handle) as web:
            yield FarSide(web_port(web), lambda: _bodies(web), web.until)
    elif way == "octets":
        async with receiver() as held:
            yield FarSide(
                held.port, lambda: [json.dumps(parsed(each)[1]) for each in held.messages], _until(held)
            )
    elif way == "datagrams":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taking:
            taking.bind(str(folder / "log"))
            taking.setblocking(False)
            came: list[bytes] = []

            async def until_datagrams(enough: Callable[[], bool]) -> None:
                async with asyncio.timeout(60):
                    while not enough():
                        came.append(await asyncio.get_running_loop().sock_recv(taking, 65536))

            yield FarSide(0, lambda: [json.dumps(parsed(each)[1]) for each in came], until_datagrams)
    else:

        def lines() -> list[str]:
            path = folder / "events"
            return [json.dumps(json.loads(each)) for each in path.read_bytes().split(b"\n")[:-1]]

        async def until_written(enough: Callable[[], bool]) -> None:
            pass  # read after its end, which delivers what it can

        yield FarSide(0, lines if way == "file" else list, until_written)


def web_port(web: WebServer) -> int:
    return int(web.url.rpartition(":")[2])


def _bodies(web: WebServer) -> list[str]:
    """Each JSON document that came, one line a document."""
    bodies = [line for each in web.requests for line in each.body.split(b"\n") if line]
    return [json.dumps(json.loads(each)) for each in bodies]


def _until(held: Receiver) -> Callable[[Callable[[], bool]], Any]:
    async def until(enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(60), held.heard:
            await held.heard.wait_for(enough)

    return until


@asynccontextmanager
async def hanging(way: str, folder: Path) -> AsyncIterator[int]:
    """One that takes connections and then nothing; a socket whose queue is full; a file that cannot be opened."""
    released = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await released.wait()
        writer.transport.abort()

    if way == "datagrams":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
            full.bind(str(folder / "log"))
            yield 0
    elif way == "file":
        fifo = folder / "events"
        os.mkfifo(fifo)
        yield 0
        # Lets the thread go that waits for a reader.
        os.close(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
    else:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            released.set()
            server.close()
            await server.wait_closed()


async def asked(exporter: Exporter) -> None:
    """The page that Prometheus reads is one that it can read."""
    app = Starlette(routes=list(exporter.routes()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://it") as client:
        page = (await client.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(page)}
    assert any(
        sample.labels.get("location") == str(SERVED.location.uri)
        for family in families.values()
        for sample in family.samples
    )
