"""Syslog's ways: UDP (RFC 5426), TCP with octet counting (RFC 6587, 3.4.1), TLS (RFC 5425), a local socket."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import unquote, urlsplit

from exporters.events.config import DEFAULT_PORTS, SyslogKeys
from exporters.events.sinks import SinkError
from exporters.events.syslog import message

CONNECT_SECONDS = 10.0
#: For a batch to leave for the kernel, and for the other side to make room.
SEND_SECONDS = 30.0
CLOSE_SECONDS = 1.0
#: RFC 5426, 3.2: every receiver should take so much.
UDP_BYTES = 2048
#: What rsyslog takes of a message unless told otherwise; it cuts the rest off.
STREAM_BYTES = 8192


class StreamSink:
    """TCP or TLS. Syslog has no answers: what the kernel had taken when the receiver died is lost. A receiver that
    closed the connection is noticed before a batch is sent."""

    def __init__(self, keys: SyslogKeys) -> None:
        self._keys = keys
        parts = urlsplit(keys.address)
        self._host, self._tls = parts.hostname or "", parts.scheme == "tls"
        self._port = parts.port or DEFAULT_PORTS[parts.scheme]
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, batch: Sequence[bytes]) -> Sequence[bytes]:
        try:
            writer = await self._open()
            messages = await asyncio.to_thread(self._framed, batch)
            async with asyncio.timeout(SEND_SECONDS):
                writer.write(messages)
                await writer.drain()
                # `drain` returns while some of it is still here: wait until the kernel has it all.
                await _sent(writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            await self.close()
            raise SinkError(f"{self._keys.address}: {str(error) or type(error).__name__}") from error
        except BaseException:
            # Cancelled in the middle of a message: this connection cannot go on.
            self._abort()
            raise
        return ()

    def _framed(self, batch: Sequence[bytes]) -> bytes:
        most = self._keys.max_bytes or STREAM_BYTES
        messages = (
            message(each, facility=self._keys.facility, max_bytes=most, process=os.getpid()) for each in batch
        )
        return b"".join(b"%d %b" % (len(each), each) for each in messages)

    async def _open(self) -> asyncio.StreamWriter:
        if self._connection is not None:
            reader, writer = self._connection
            if not reader.at_eof() and not writer.is_closing() and reader.exception() is None:
                return writer
            await self.close()
        context = await asyncio.to_thread(self._context) if self._tls else None
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(self._host, self._port, ssl=context, limit=1 << 16)
        self._connection = reader, writer
        # Only what could not leave at once is held here.
        writer.transport.set_write_buffer_limits(high=0)
        return writer

    def _context(self) -> ssl.SSLContext:
        """Blocking: files may have been exchanged. Raises OSError (ssl.SSLError is one)."""
        context = ssl.create_default_context(cafile=self._keys.ca_file)
        if self._keys.cert_file is not None:
            context.load_cert_chain(self._keys.cert_file, self._keys.key_file)
        return context

    def _abort(self) -> None:
        if self._connection is not None:
            self._connection[1].transport.abort()
            self._connection = None

    async def close(self) -> None:
        if self._connection is None:
            return
        _, writer = self._connection
        self._connection = None
        writer.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            writer.transport.abort()


async def _sent(writer: asyncio.StreamWriter) -> None:
    """Nothing is held back by the transport any more: with a high-water mark of 0, drain waits for just that."""
    while writer.transport.get_write_buffer_size():
        await writer.drain()


class DatagramSink:
    """UDP, or a local socket such as /dev/log. UDP may lose any message unseen; a port where nobody listens is noticed
    at the next one."""

    def __init__(self, keys: SyslogKeys) -> None:
        self._keys = keys
        self._local = keys.address.startswith("unix:")
        self._most = keys.max_bytes or (STREAM_BYTES if self._local else UDP_BYTES)
        self._socket: socket.socket | None = None

    async def send(self, batch: Sequence[bytes]) -> Sequence[bytes]:
        taken = 0
        try:
            async with asyncio.timeout(SEND_SECONDS):
                connected = await self._open()
                messages = await asyncio.to_thread(self._messages, batch)
                for each in messages:
                    await self._send_one(connected, each)
                    taken += 1
        except (OSError, TimeoutError) as error:
            await self.close()
            if not taken:
                raise SinkError(f"{self._keys.address}: {str(error) or type(error).__name__}") from error
        return batch[taken:]

    def _messages(self, batch: Sequence[bytes]) -> list[bytes]:
        return [self._message(each, self._most) for each in batch]

    def _message(self, record: bytes, most: int) -> bytes:
        return message(record, facility=self._keys.facility, max_bytes=most, process=os.getpid())

    async def _send_one(self, connected: socket.socket, datagram: bytes) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.sock_sendall(connected, datagram)
            except OSError as error:
                if error.errno != errno.EMSGSIZE or len(datagram) <= UDP_BYTES // 4:
                    raise
                # This way takes less than `max_bytes`: cut further, and remember.
                self._most = max(UDP_BYTES // 4, len(datagram) // 2)
                _, _, body = datagram.partition(b"] ")
                datagram = self._message(body, self._most)
            else:
                return

    async def _open(self) -> socket.socket:
        if self._socket is None:
            loop = asyncio.get_running_loop()
            if self._local:
                family, address = socket.AF_UNIX, unquote(self._keys.address.removeprefix("unix://"))
                self._socket = await _connected(family, address)
            else:
                parts = urlsplit(self._keys.address)
                port = parts.port or DEFAULT_PORTS["udp"]
                found = await loop.getaddrinfo(parts.hostname, port, type=socket.SOCK_DGRAM)
                family, _, _, _, udp = found[0]
                self._socket = await _connected(family, udp)
        return self._socket

    async def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


async def _connected(family: int, address: object) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        with suppress(BlockingIOError):
            opened.connect(address)  # type: ignore[arg-type]  # of a datagram socket: at once
    except BaseException:
        opened.close()
        raise
    return opened


def syslog_sink(keys: SyslogKeys) -> StreamSink | DatagramSink:
    return StreamSink(keys) if keys.address.startswith(("tcp:", "tls:")) else DatagramSink(keys)
