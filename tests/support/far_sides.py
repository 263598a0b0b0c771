"""Servers written out for tests, where Debian has none: SQL Server's login up to TLS, and netnews."""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from certwatch.plugins.testing import Issued

HEADER = 8
PRELOGIN, TABULAR, LOGIN7 = 0x12, 0x04, 0x10


def server_context(issued: Issued) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "server.pem"
        path.write_bytes(issued.key_pem + issued.chain_pem)
        context.load_cert_chain(path)
    return context


class SQLServer:
    """Speaks [MS-TDS] up to the login, which it reads and hangs up on. `logins`: payloads of LOGIN7 that came through
    TLS, so that a real client can vouch for it."""

    def __init__(self, issued: Issued, *, encryption: int = 1) -> None:
        self._context = server_context(issued)
        # As SQL Server does: TLS 1.3 came with TDS 8.0, and FreeTDS cannot log in by it.
        self._context.maximum_version = ssl.TLSVersion.TLSv1_2
        self._encryption = encryption
        self.logins: list[bytes] = []

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            kind, _ = await self._packet(reader)
            assert kind == PRELOGIN
            # VERSION, ENCRYPTION, INSTOPT, THREADID (empty), MARS; values from offset 26.
            table = bytes.fromhex("00 001a 0006  01 0020 0001  02 0021 0001  03 0022 0000  04 0022 0001  ff")
            values = bytes([16, 0, 0x10, 0, 0, 0, self._encryption, 0, 0])
            writer.write(self._framed(TABULAR, table + values))
            await self._login(reader, writer)
        writer.close()

    async def _login(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                if outgoing.pending:
                    writer.write(self._framed(PRELOGIN, outgoing.read()))
                kind, payload = await self._packet(reader)
                assert kind == PRELOGIN
                incoming.write(payload)
                continue
            break
        if outgoing.pending:
            writer.write(self._framed(PRELOGIN, outgoing.read()))
        # From here on TLS travels bare, and TDS in it.
        while data := await reader.read(65536):
            incoming.write(data)
            with suppress(ssl.SSLWantReadError):
                login = tls.read(65536)
                if login:
                    self.logins.append(login)
                return

    @staticmethod
    async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = await reader.readexactly(HEADER)
        return head[0], await reader.readexactly(int.from_bytes(head[2:4], "big") - HEADER)

    @staticmethod
    def _framed(kind: int, data: bytes) -> bytes:
        """In packets of 4096 bytes at most."""
        size = 4096 - HEADER
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        return b"".join(
            bytes([kind, number == len(pieces)])
            + (len(piece) + HEADER).to_bytes(2, "big")
            + bytes([0, 0, number, 0])
            + piece
            for number, piece in enumerate(pieces, 1)
        )


class NewsServer:
    """RFC 3977 and RFC 4642, as far as a reader goes who wants TLS."""

    def __init__(self, issued: Issued) -> None:
        self._context = server_context(issued)

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"200 news.example ready, posting allowed\r\n")
        with suppress(ConnectionError, ssl.SSLError):
            while line := await reader.readline():
                if line == b"CAPABILITIES\r\n":
                    writer.write(
                        b"101 Capability list:\r\nVERSION 2\r\nREADER\r\nSTARTTLS\r\nLIST ACTIVE\r\n.\r\n"
                    )
                elif line == b"STARTTLS\r\n":
                    writer.write(b"382 Continue with TLS negotiation\r\n")
                    await writer.drain()
                    await writer.start_tls(self._context)
                else:
                    writer.write(b"500 Unknown command\r\n")
        writer.close()


@asynccontextmanager
async def listening(server: SQLServer | NewsServer) -> AsyncIterator[int]:
    """Its port on 127.0.0.1."""
    running = await asyncio.start_server(server.attend, "127.0.0.1", 0)
    async with running:
        yield int(running.sockets[0].getsockname()[1])
