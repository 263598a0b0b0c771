import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from certwatch.web.app import make_app
from certwatch.web.server import HTTPServer, PortError, bind, split, url_of
from tests.web.test_app import site

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def serving() -> AsyncIterator[HTTPServer]:
    server = HTTPServer(bind("127.0.0.1:0"), make_app(site()))
    server.start()
    try:
        yield server
    finally:
        async with asyncio.timeout(5):
            await server.stop()


async def test_it_serves_another_application_without_closing_its_port() -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with serving() as server:
        url = server.url
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.get("/-/ready")).status_code == 200
            server.app = make_app(site(not_ready=lambda: ["stopping"]))
            assert (await http.get("/-/ready")).status_code == 503
        assert signal.getsignal(signal.SIGTERM) is before
    async with httpx.AsyncClient(base_url=url) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get("/")


async def test_a_server_that_never_served_can_be_stopped() -> None:
    await HTTPServer(bind("127.0.0.1:0"), make_app(site())).stop()


async def test_a_client_that_never_ends_its_request_does_not_hinder_stopping() -> None:
    async with serving() as server:
        host, port = server._socket.getsockname()[:2]
        _, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: ")
        await writer.drain()
    writer.close()
    await writer.wait_closed()


def test_an_address_in_use_is_said_in_plain_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            PortError, match=f"listen {address}: another program listens there already. Stop that one"
        ):
            bind(address)


@pytest.mark.parametrize("address", ["", "9719", "localhost:", "::1:9719", "a:99999", "host:http"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(PortError, match="not host:port"):
        split(address)


def test_addresses_of_another_host_and_unknown_names_are_refused() -> None:
    with pytest.raises(PortError, match="this host has no such address"):
        bind("192.0.2.1:0")


def test_every_address_by_one_socket() -> None:
    with bind(":0") as bound:
        port = bound.getsockname()[1]
        assert url_of(bound) == f"http://localhost:{port}"
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_ipv6_addresses_stand_in_brackets() -> None:
    assert split("[::1]:9719") == ("::1", 9719)
    with bind("[::1]:0") as bound:
        assert url_of(bound) == f"http://[::1]:{bound.getsockname()[1]}"
