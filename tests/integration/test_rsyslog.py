"""Events reach a real rsyslog, over TCP and TLS, whole and in order, also those of the time when it was away."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from certwatch.model.finding import FindingID
from certwatch.plugins.exporter import ExporterContext, News
from certwatch.plugins.testing import FakeClock
from exporters.events import EventsConfig, EventsExporter
from tests.contracts.test_exporters import View
from tests.exporters.test_events import FINDING, SERVED
from tests.support.servers import accepts, free_port, program, running

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

CONFIG = """\
global(workDirectory="{folder}" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off")
module(load="imptcp")
input(type="imptcp" address="127.0.0.1" port="{port}" supportOctetCountedFraming="on")
template(name="whole" type="string" string="%pri% %hostname% %app-name% %msgid% %msg%\\n")
*.* action(type="omfile" file="{folder}/received" template="whole")
"""


@contextmanager
def rsyslog(folder: Path, port: int) -> Iterator[Path]:
    config = folder / "rsyslog.conf"
    config.write_text(CONFIG.format(folder=folder, port=port))
    with running(
        [program("rsyslogd", "rsyslog"), "-n", "-f", config, "-i", folder / "pid"],
        ready=lambda: accepts(port),
        log=folder / "rsyslog.log",
    ):
        yield folder / "received"


def exporter(folder: Path, port: int) -> EventsExporter:
    return EventsExporter(
        "siem",
        EventsConfig.model_validate({"syslog": {"address": f"tcp://127.0.0.1:{port}", "facility": "local3"}}),
        ExporterContext(clock=FakeClock(), view=View(), state_folder=folder / "state"),
    )


def read_lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def received(path: Path, count: int) -> list[str]:
    async with asyncio.timeout(20):
        while True:
            lines = await asyncio.to_thread(read_lines, path)
            if len(lines) >= count:
                return lines
            await asyncio.sleep(0.05)


def findings(start: int, count: int) -> News:
    return News(
        opened=tuple(
            replace(FINDING, id=FindingID(n), summary=f"number {n}") for n in range(start, start + count)
        )
    )


async def test_every_event_arrives_whole_and_in_order_also_of_the_time_when_rsyslog_was_away(
    tmp_path: Path,
) -> None:
    port = free_port()
    telling = exporter(tmp_path, port)
    await telling.start()
    task = asyncio.create_task(telling.run())
    try:
        await telling.publish(findings(0, 50))  # nobody listens yet
        with rsyslog(tmp_path, port) as path:
            await received(path, 50)
            await telling.publish(findings(50, 150))
            lines = await received(path, 200)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    heads, bodies = zip(*(line.split(" {", 1) for line in lines), strict=True)
    # local3 is 19; a page is critical, 2.
    assert {head.split()[0] for head in heads} == {str(19 * 8 + 2)}
    assert {tuple(head.split()[2:4]) for head in heads} == {("certwatch", "finding-opened")}
    told = [json.loads("{" + body)["message"] for body in bodies]
    assert list(dict.fromkeys(told)) == [f"number {n}" for n in range(200)]


async def test_a_large_certificate_is_still_json_in_its_file(tmp_path: Path) -> None:
    port = free_port()
    served = replace(SERVED, facts={"tls_version": "TLSv1.3", "cipher": "x" * 20_000})
    telling = exporter(tmp_path, port)
    await telling.start()
    task = asyncio.create_task(telling.run())
    try:
        with rsyslog(tmp_path, port) as path:
            await telling.publish(News(changed=(served,)))
            (line,) = await received(path, 1)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert json.loads("{" + line.split(" {", 1)[1])["event"]["action"] == "location-changed"
