"""The target `listening`: this host's own ports."""

import asyncio

import pytest

from certwatch.model.observation import Observation
from certwatch.plugins.testing import collect
from collectors.tls import TLSCollector

pytestmark = pytest.mark.anyio


async def test_what_listens_here_is_looked_at_and_is_only_a_guess() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no TLS here\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.3", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        found = await collect(TLSCollector, {"targets": ["listening"], "timeout": 2})
    ours = [
        each
        for each in found
        if isinstance(each, Observation) and each.location == f"tls://127.0.0.3:{port}/"
    ]
    assert [(each.error.kind if each.error else None, each.guessed, each.scope) for each in ours] == [
        ("not-tls", True, "listening")
    ]


async def test_an_address_of_a_network_is_a_guess_and_one_that_was_named_is_not() -> None:
    found = await collect(TLSCollector, {"targets": ["127.0.0.4:9", "127.0.0.6/31:9"], "timeout": 2})
    guessed = {each.location: each.guessed for each in found if isinstance(each, Observation)}
    assert guessed == {"tls://127.0.0.4:9/": False, "tls://127.0.0.6:9/": True, "tls://127.0.0.7:9/": True}
