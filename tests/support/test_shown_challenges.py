"""The host of the ACME tests, when somebody else finds its port: a scan of this machine's listening ports does.

What its loop reports as an error fails the test that runs just then."""

import asyncio
import socket
import ssl
from collections.abc import Callable

import pytest

from tests.support.shown_challenges import host

pytestmark = pytest.mark.anyio
NAME = "www.example.com"


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["acme-tls/1"])
    return context


def _until_closed(connected: socket.socket) -> None:
    try:
        while connected.recv(4096):
            pass
    except ConnectionError:
        pass


def _speaks_no_tls(connected: socket.socket) -> None:
    connected.sendall(b"GET / HTTP/1.0\r\n\r\n")
    _until_closed(connected)


def _says_nothing(connected: socket.socket) -> None:
    connected.shutdown(socket.SHUT_WR)
    _until_closed(connected)


def _trusts_nobody(connected: socket.socket) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(connected, server_hostname=NAME)


def _stops_speaking_tls(connected: socket.socket) -> None:
    greeted = _trusting().wrap_socket(connected, server_hostname=NAME)
    with socket.socket(fileno=greeted.detach()) as plain:
        plain.settimeout(5)
        _speaks_no_tls(plain)


@pytest.mark.parametrize("stranger", [_speaks_no_tls, _says_nothing, _trusts_nobody, _stops_speaking_tls])
async def test_a_stranger_at_its_tls_port_is_borne_and_who_asks_next_is_shown_the_certificate(
    stranger: Callable[[socket.socket], None],
) -> None:
    async with host() as shown:
        shown.show_certificate(NAME, "token.thumbprint")

        def comes() -> None:
            with socket.create_connection(("127.0.0.1", shown.tls_port), timeout=5) as connected:
                stranger(connected)

        await asyncio.to_thread(comes)
        _, writer = await asyncio.open_connection(
            "127.0.0.1", shown.tls_port, ssl=_trusting(), server_hostname=NAME
        )
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "acme-tls/1"
        writer.close()
        await writer.wait_closed()
