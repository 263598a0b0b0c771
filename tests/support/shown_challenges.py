"""A host that shows what ACME challenges ask for: over HTTP, in DNS, and by TLS."""

import asyncio
import hashlib
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import cast

import anyio
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass
class Host:
    http_port: int = 0
    dns_port: int = 0
    tls_port: int = 0
    #: By path: what is answered, as bytes on the wire.
    pages: dict[str, bytes] = field(default_factory=dict)
    #: By name: TXT.
    texts: dict[str, list[str]] = field(default_factory=dict)
    #: By name: what A says. Others: 127.0.0.1.
    addresses: dict[str, str] = field(default_factory=dict)
    #: What is presented for acme-tls/1.
    tls: ssl.SSLContext = field(default_factory=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    asked: list[str] = field(default_factory=list)

    def show_page(self, token: str, key_authorization: str) -> None:
        body = key_authorization.encode()
        self.pages[f"/.well-known/acme-challenge/{token}"] = (
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
        )

    def show_text(self, name: str, key_authorization: str) -> None:
        from tests.support.acme import text

        digest = text(hashlib.sha256(key_authorization.encode()).digest())
        self.texts.setdefault(f"_acme-challenge.{name}", []).append(digest)

    def show_certificate(self, name: str, key_authorization: str, *, critical: bool = True) -> None:
        """RFC 8737, 3."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        subject = x509.Name([])
        general: x509.GeneralName = (
            x509.DNSName(name) if not name.replace(".", "").isdigit() else x509.IPAddress(ip_address(name))
        )
        value = b"\x04\x20" + hashlib.sha256(key_authorization.encode()).digest()
        made = (
            x509.CertificateBuilder(issuer_name=subject, subject_name=subject, public_key=key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([general]), critical=False)
            .add_extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"), value),
                critical=critical,
            )
            .sign(key, hashes.SHA256())
        )
        with tempfile.TemporaryDirectory() as folder:
            both = Path(folder, "both.pem")
            both.write_bytes(
                made.public_bytes(serialization.Encoding.PEM)
                + key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
            self.tls.load_cert_chain(both)
        self.tls.set_alpn_protocols(["acme-tls/1"])

    async def _page(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = (await reader.readline()).decode("latin-1")
            path = line.split(" ")[1] if line.count(" ") == 2 else ""
            self.asked.append(path)
            writer.write(self.pages.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
            await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    async def _greet(self, stream: SocketStream) -> None:
        """Who comes may be a stranger, who speaks no TLS or trusts nobody here. Not TLS of the loop's own: in debug mode
        that reports each handshake that fails as an error."""
        try:
            async with stream, await TLSStream.wrap(stream, server_side=True, ssl_context=self.tls) as shown:
                while True:
                    await shown.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError):
            pass  # who looked has seen enough


class _Dns(asyncio.DatagramProtocol):
    def __init__(self, host: Host) -> None:
        self.host = host
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Both loops give one that can, and only uvloop's says so by its class.
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        question = dns.message.from_wire(data)
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.RA
        [asked] = question.question
        name = asked.name.to_text().rstrip(".").lower()
        kind = dns.rdatatype.to_text(asked.rdtype)
        if kind == "TXT" and name in self.host.texts:
            values = [f'"{each}"' for each in self.host.texts[name]]
            answer.answer.append(dns.rrset.from_text(asked.name, 1, "IN", "TXT", *values))
        elif kind == "TXT":
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif kind == "A":
            answer.answer.append(
                dns.rrset.from_text(asked.name, 1, "IN", "A", self.host.addresses.get(name, "127.0.0.1"))
            )
        assert self.transport is not None
        self.transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def host() -> AsyncIterator[Host]:
    """On free ports of loopback. The name server says 127.0.0.1 of every name."""
    shown = Host()
    loop = asyncio.get_running_loop()
    http = await asyncio.start_server(shown._page, "127.0.0.1", 0)
    tls = await anyio.create_tcp_listener(local_host="127.0.0.1")
    greeting = asyncio.create_task(tls.serve(shown._greet))
    transport, _ = await loop.create_datagram_endpoint(lambda: _Dns(shown), local_addr=("127.0.0.1", 0))
    shown.http_port = http.sockets[0].getsockname()[1]
    shown.tls_port = tls.extra_attributes[SocketAttribute.local_port]()
    shown.dns_port = transport.get_extra_info("sockname")[1]
    try:
        yield shown
    finally:
        transport.close()
        http.close()
        greeting.cancel()
        await asyncio.wait([greeting])
        await tls.aclose()
