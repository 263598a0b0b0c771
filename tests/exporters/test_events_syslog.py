"""Syslog: messages that are whole, framed by their length, and valid JSON however small they must be."""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from certwatch.model.certificate import Name
from certwatch.plugins.testing import EPOCH
from exporters.events.config import SyslogKeys
from exporters.events.documents import Origin, encoded, finding_document, location_document
from exporters.events.sinks import SinkError
from exporters.events.syslog import message
from exporters.events.syslog_sink import DatagramSink, StreamSink
from tests.exporters.test_events import CERTIFICATE, FINDING, SERVED
from tests.support.servers import free_port

ORIGIN = Origin(hostname="watch.example.com", version="0.1.0")
RECORD = encoded(finding_document("finding-opened", FINDING, SERVED, EPOCH), ORIGIN)
#: RFC 5424, 6, with one element of structured data.
FORM = re.compile(
    rb"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([!-~]{1,255}) certwatch ([!-~]{1,128}) ([!-~]{1,32})"
    rb' \[origin software="certwatch" swVersion="([^"\\\]]*)"\] (\{[ -~]*\})'
)


def parsed(data: bytes) -> tuple[int, dict[str, object]]:
    found = FORM.fullmatch(data)
    assert found is not None, data
    return int(found[1]), json.loads(found[7])


def test_a_page_is_critical_and_its_message_is_the_event() -> None:
    data = message(RECORD, facility="local3", max_bytes=8192, process=42)
    priority, event = parsed(data)
    assert divmod(priority, 8) == (19, 2)
    assert event == json.loads(RECORD)
    assert b"Z watch.example.com certwatch 42 finding-opened [" in data


def test_what_is_over_is_a_notice() -> None:
    record = encoded(finding_document("finding-resolved", FINDING, SERVED, EPOCH), ORIGIN)
    assert parsed(message(record, facility="daemon", max_bytes=8192, process=1))[0] == 3 * 8 + 5


@pytest.mark.parametrize("most", [480, 1024, 1500, 2048])
def test_a_message_that_is_too_large_is_cut_to_valid_json_and_says_so(most: int) -> None:
    certificate = replace(CERTIFICATE, names=tuple(Name(f"dns:{n}.example.com") for n in range(900)))
    finding = replace(FINDING, summary="www.example.com " + "ü\u202e\0" * 3000)
    record = encoded(
        finding_document("finding-opened", finding, replace(SERVED, chain=(certificate,)), EPOCH), ORIGIN
    )
    data = message(record, facility="daemon", max_bytes=most, process=42)
    event = parsed(data)[1]
    assert len(data) <= most
    assert event["certwatch"]["truncated"] is True  # type: ignore[index]
    assert event["event"]["action"] == "finding-opened"  # type: ignore[index]
    assert event["event"]["id"] == json.loads(record)["event"]["id"]  # type: ignore[index]


@given(st.text(st.characters(codec=None), max_size=400), st.integers(480, 3000))
def test_whatever_a_certificate_says_the_message_keeps_its_form_and_size(text: str, most: int) -> None:
    served = replace(SERVED, chain=(replace(CERTIFICATE, subject=text, names=(Name("dns:" + text),) * 20),))
    origin = Origin(hostname=text, version=text)
    data = message(
        encoded(location_document("location-changed", served, EPOCH), origin),
        facility="daemon",
        max_bytes=most,
        process=1,
    )
    parsed(data)
    assert len(data) <= most


class Receiver:
    """Takes octet-counted messages (RFC 6587, 3.4.1); closes after `most` of them."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.connections = 0
        self.most: int | None = None
        self.heard = asyncio.Condition()
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            while True:
                length = await reader.readuntil(b" ")
                self.messages.append(await reader.readexactly(int(length)))
                async with self.heard:
                    self.heard.notify_all()
                if self.most is not None and len(self.messages) >= self.most:
                    self.most = None
                    break
        writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10), self.heard:
            await self.heard.wait_for(lambda: len(self.messages) >= count)


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    held = Receiver()
    server = await asyncio.start_server(held.handle, "127.0.0.1", 0)
    held.port = server.sockets[0].getsockname()[1]
    try:
        yield held
    finally:
        server.close()


@pytest.mark.anyio
async def test_over_tcp_each_message_stands_behind_its_length() -> None:
    async with receiver() as held:
        sink = StreamSink(SyslogKeys(address=f"tcp://127.0.0.1:{held.port}"))
        assert not await sink.send([RECORD] * 500)
        assert not await sink.send([RECORD])
        await held.until(501)
        await sink.close()
        assert held.connections == 1
        assert all(parsed(each) for each in held.messages)


@pytest.mark.anyio
async def test_a_receiver_that_hung_up_is_noticed_before_the_next_batch() -> None:
    async with receiver() as held:
        held.most = 1
        sink = StreamSink(SyslogKeys(address=f"tcp://127.0.0.1:{held.port}"))
        await sink.send([RECORD])
        await held.until(1)
        assert sink._connection is not None
        async with asyncio.timeout(10):
            await sink._connection[0].read()  # until the end of its stream has come
        await sink.send([RECORD])
        await held.until(2)
        await sink.close()
        assert held.connections == 2


@pytest.mark.anyio
async def test_a_port_where_nobody_listens_is_an_error_to_try_again() -> None:
    sink = StreamSink(SyslogKeys(address=f"tcp://127.0.0.1:{free_port()}"))
    with pytest.raises(SinkError, match=r"tcp://127\.0\.0\.1"):
        await sink.send([RECORD])
    await sink.close()


@pytest.mark.anyio
async def test_a_tls_receiver_that_cannot_be_verified_gets_nothing(tmp_path: Path) -> None:
    async with receiver() as held:
        sink = StreamSink(
            SyslogKeys(address=f"tls://127.0.0.1:{held.port}", ca_file=tmp_path / "missing.pem")
        )
        with pytest.raises(SinkError):
            await sink.send([RECORD])
        await sink.close()
        assert held.messages == []


@pytest.mark.anyio
async def test_a_datagram_is_a_message() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taking:
        taking.bind(("127.0.0.1", 0))
        taking.settimeout(10)
        sink = DatagramSink(SyslogKeys(address=f"udp://127.0.0.1:{taking.getsockname()[1]}"))
        assert not await sink.send([RECORD, RECORD])
        for _ in range(2):
            parsed(await asyncio.to_thread(taking.recv, 65536))
        await sink.close()


@pytest.mark.anyio
async def test_a_udp_port_where_nobody_listens_is_noticed_at_the_next_message() -> None:
    sink = DatagramSink(SyslogKeys(address=f"udp://127.0.0.1:{free_port()}"))
    with pytest.raises(SinkError):
        for _ in range(100):
            await sink.send([RECORD])
    await sink.close()


@pytest.mark.anyio
async def test_a_local_socket_that_takes_less_gets_less(tmp_path: Path) -> None:
    """The kernel refuses a datagram larger than the sender's buffer: it is cut once more, to valid JSON."""
    certificate = replace(CERTIFICATE, names=tuple(Name(f"dns:{n}.example.com") for n in range(900)))
    served = replace(SERVED, chain=(certificate,) * 3)
    record = encoded(location_document("location-changed", served, EPOCH), ORIGIN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taking:
        taking.bind(str(tmp_path / "log"))
        taking.settimeout(10)
        sink = DatagramSink(SyslogKeys(address=f"unix://{tmp_path}/log", max_bytes=1 << 20))
        opened = await sink._open()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 13)
        assert not await sink.send([record])
        assert parsed(await asyncio.to_thread(taking.recv, 1 << 20))[1]["certwatch"]["truncated"]  # type: ignore[index]
        await sink.close()


@pytest.mark.anyio
async def test_a_receiver_that_takes_nothing_does_not_keep_the_sink_from_ending() -> None:
    released = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    sink = StreamSink(SyslogKeys(address=f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    sending = asyncio.create_task(sink.send([RECORD] * 10_000))
    _, pending = await asyncio.wait([sending], timeout=0.2)
    assert pending
    sending.cancel()
    async with asyncio.timeout(2):
        await asyncio.gather(sending, return_exceptions=True)
        await sink.close()
    released.set()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"address": "127.0.0.1:514"}, "begins with"),
        ({"address": "udp://"}, "write it as udp://host:514"),
        ({"address": "udp://host:99999"}, "address"),
        ({"address": "tcp://host:0"}, "write it as"),
        ({"address": "unix://log"}, "absolute path"),
        ({"address": "tcp://host", "ca_file": "/ca.pem"}, "for tls"),
        ({"address": "tls://host", "cert_file": "/c.pem"}, "belong together"),
        ({"address": "udp://host", "facility": "local8"}, "local7"),
        ({"address": "udp://host", "max_bytes": 479}, "480"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(keys: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SyslogKeys.model_validate(keys)
