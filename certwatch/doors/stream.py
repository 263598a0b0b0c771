"""One connection that is spoken over step by step: in the clear, through TLS from some point on, as callers say."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import cast

from certwatch.doors.failure import LookFailed
from certwatch.doors.handshake import Client, Handshake
from certwatch.doors.tls import translated


class Ended(Exception):
    """The other side has said all that it will say."""


class Stream(asyncio.Protocol):
    """Owned by one task. Every wait is the caller's to limit; `close` it in any case."""

    __slots__ = (
        "_buffer",
        "_ended",
        "_failure",
        "_leaving",
        "_left",
        "_transport",
        "_waiter",
        "_where",
        "handshake",
        "handshake_seconds",
    )

    def __init__(self, where: str, max_bytes: int) -> None:
        self._where = where
        #: Bytes that may still come.
        self._left = max_bytes
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._leaving = False
        self._failure: LookFailed | None = None
        #: None: in the clear.
        self.handshake: Handshake | None = None
        self.handshake_seconds = 0.0

    @classmethod
    async def open(
        cls, address: str, port: int, where: str, *, max_bytes: int, source: str | None = None
    ) -> "Stream":
        """`source`: the address to come from. Raises LookFailed."""
        stream = cls(where, max_bytes)
        loop = asyncio.get_running_loop()
        local = (source, 0) if source else None
        try:
            await loop.create_connection(partial(_itself, stream), address, port, local_addr=local)
        except OSError as error:
            raise translated(error, where) from error
        return stream

    # -- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._fail(LookFailed("malformed", f"{self._where}: sent more bytes than are taken from it."))
            return
        handshake = self.handshake
        if handshake is None:
            self._buffer += data
        elif handshake.done:
            self._read_tls(handshake, data)
        elif self._shook_hands(handshake, data):
            if not handshake.agreed:
                self._fail(
                    LookFailed(
                        "tls-alert",
                        f"{self._where}: demands a client certificate. Give it one that it takes.",
                    )
                )
                return
            if not self._leaving:
                # What came in the same breath as the handshake's end.
                self._read_tls(handshake, b"")
        else:
            return
        self._wake()

    def _shook_hands(self, handshake: Handshake, data: bytes) -> bool:
        out, failure = handshake.step(data)
        if self._leaving and handshake.agreed:
            out += handshake.farewell()
            self._ended = True
        self._send(out)
        if failure is not None:
            self._fail(failure)
        return failure is None and handshake.done

    def _read_tls(self, handshake: Handshake, data: bytes) -> None:
        try:
            plain, closed = handshake.decrypt(data)
        except LookFailed as failure:
            self._fail(failure)
            return
        self._send(handshake.pending())
        self._buffer += plain
        self._ended = self._ended or closed

    def eof_received(self) -> None:
        self.connection_lost(None)

    def connection_lost(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended = True
        handshake = self.handshake
        if handshake is not None and not handshake.done:
            how = "closed" if error is None else "reset"
            self._failure = self._failure or LookFailed(
                "reset",
                f"{self._where}: the server {how} the connection during the TLS handshake. Its log may say why.",
            )
        elif error is not None:
            self._failure = self._failure or LookFailed("reset", f"{self._where}: the connection was reset.")
        self._wake()

    # -- for the task that owns it

    async def start_tls(
        self, client: Client, server_name: str | None, *, alpn: bool, leave: bool = False
    ) -> Handshake:
        """Raises LookFailed; what was presented until then is in `handshake`. `leave`: nothing will be said through it: the
        end is said in one breath with the handshake's."""
        if self._buffer:
            raise LookFailed(
                "malformed",
                f"{self._where}: sent bytes in the clear where TLS begins: a command was injected, or it is broken.",
            )
        self._leaving = leave
        began = time.perf_counter()
        handshake = self.handshake = client.begin(self._where, server_name, alpn=alpn)
        try:
            out, failure = handshake.step(b"")
            self._send(out)
            if failure is not None:
                raise failure
            await self._until(lambda: handshake.done)
        finally:
            self.handshake_seconds = time.perf_counter() - began
        return handshake

    async def line(self, longest: int) -> bytes:
        """Up to a line feed, without it and a carriage return before it; the rest where the other side has ended.
        Raises Ended, LookFailed."""
        await self._until(lambda: b"\n" in self._buffer or len(self._buffer) > longest or self._ended)
        line, feed, rest = self._buffer.partition(b"\n")
        if len(line) > longest:
            raise LookFailed("malformed", f"{self._where}: a line of more than {longest} bytes.")
        if not feed and not line:
            raise Ended
        self._buffer = rest
        return line.removesuffix(b"\r")

    async def some(self, most: int) -> bytes:
        """What has come, at least one byte. Raises Ended, LookFailed."""
        await self._until(lambda: bool(self._buffer) or self._ended)
        if not self._buffer:
            raise Ended
        data, self._buffer = self._buffer[:most], self._buffer[most:]
        return data

    def write(self, data: bytes) -> None:
        handshake = self.handshake
        if handshake is None:
            self._send(data)
        else:
            self._send(handshake.encrypt(data))

    def close(self) -> None:
        """Now. Twice is fine."""
        if self._transport is not None:
            if self.handshake is not None and self.handshake.done and not self._ended:
                self._send(self.handshake.farewell())
            self._ended = True
            self._transport.close()
            self._transport = None
        if self.handshake is not None:
            self.handshake.close()

    # -- inside

    async def _until(self, holds: Callable[[], bool]) -> None:
        while True:
            if self._failure is not None:
                raise self._failure
            if holds():
                return
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: LookFailed) -> None:
        self._failure = self._failure or failure
        self._wake()

    def _send(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)


def _itself(stream: Stream) -> Stream:
    return stream
