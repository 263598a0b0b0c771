"""How an Alertmanager is told. The far side here is a small HTTP server that answers as told; the real Alertmanager is
asked in tests/integration/test_alertmanager.py."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from certwatch.model.certificate import Fingerprint
from certwatch.model.finding import FindingID
from certwatch.plugins.exporter import News
from certwatch.plugins.testing import FakeClock
from exporters.alertmanager import AlertmanagerConfig, AlertmanagerExporter, sender
from tests.exporters.test_alertmanager import exporter, finding

pytestmark = pytest.mark.anyio


class FarSide:
    """Answers POSTs with what it was told to, and keeps the alerts of those it took."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.taken: list[list[dict[str, Any]]] = []
        self.headers: list[str] = []
        self.heard = asyncio.Event()
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(
                    next(line for line in head.lower().split(b"\r\n") if b"content-length" in line).split()[1]
                )
                body = json.loads(await reader.readexactly(length))
                self.headers.append(head.decode())
                status = self.answers.pop(0) if self.answers else 200
                if status == 200:
                    self.taken.append(body)
                writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
                self.heard.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def far_side() -> AsyncIterator[FarSide]:
    side = FarSide()
    server = await asyncio.start_server(side.handle, "127.0.0.1", 0)
    side.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield side
    finally:
        server.close()


@asynccontextmanager
async def running(manager: AlertmanagerExporter) -> AsyncIterator[None]:
    await manager.start()
    task = asyncio.create_task(manager.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_change_is_told_at_once() -> None:
    async with far_side() as side:
        manager = exporter(FakeClock(), urls=[side.url])
        async with running(manager), asyncio.timeout(5):
            await manager.publish(News(opened=(finding(1),)))
            await side.heard.wait()
    assert side.taken[0][0]["labels"]["rule"] == "chain-incomplete"


async def test_one_that_is_down_keeps_nothing_from_the_other_and_hears_when_it_is_back() -> None:
    async with far_side() as good, far_side() as bad:
        bad.answers = [500]
        manager = exporter(FakeClock(), finding(1), urls=[bad.url, good.url])
        async with running(manager), asyncio.timeout(5):
            await good.heard.wait()
            while not bad.taken:
                bad.heard.clear()
                await bad.heard.wait()
    assert bad.taken[0] == good.taken[0]


async def test_a_batch_called_wrong_is_not_sent_over_and_over() -> None:
    async with far_side() as side:
        side.answers = [400]
        manager = exporter(FakeClock(), finding(1), urls=[side.url], resend="1h")
        async with running(manager), asyncio.timeout(5):
            await side.heard.wait()
    # Once by the round, once by the last attempt.
    assert len(side.headers) == 2


async def test_many_alerts_go_in_batches() -> None:
    async with far_side() as side:
        findings = [finding(1, id=FindingID(n), fingerprint=Fingerprint(n.to_bytes(32))) for n in range(1201)]
        manager = exporter(FakeClock(), *findings, urls=[side.url])
        async with running(manager), asyncio.timeout(10):
            while sum(map(len, side.taken)) < 1201:
                side.heard.clear()
                await side.heard.wait()
    assert [len(batch) for batch in side.taken[:3]] == [500, 500, 201]


async def test_a_change_alone_is_told_without_all_the_rest() -> None:
    async with far_side() as side:
        manager = exporter(FakeClock(), finding(1), finding(2, severity="page"), urls=[side.url], resend="1h")
        async with running(manager), asyncio.timeout(5):
            await side.heard.wait()
            side.heard.clear()
            await manager.publish(News(opened=(finding(3, rule="chain-order"),)))
            await side.heard.wait()
            assert [len(batch) for batch in side.taken] == [2, 1]
    # At the end all of it, so that it lives through a restart.
    assert len(side.taken[-1]) == 3


async def test_a_request_that_is_too_large_is_divided() -> None:
    async with far_side() as side:
        side.answers = [413, 413]
        findings = [finding(1, id=FindingID(n), fingerprint=Fingerprint(n.to_bytes(32))) for n in range(9)]
        manager = exporter(FakeClock(), *findings, urls=[side.url], resend="1h")
        async with running(manager), asyncio.timeout(5):
            while sum(map(len, side.taken)) < 9:
                side.heard.clear()
                await side.heard.wait()
            assert [len(batch) for batch in side.taken] == [2, 2, 2, 2, 1]


@asynccontextmanager
async def telling(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[sender.Sender]:
    """A sender with one alert, to a server that behaves so."""
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        manager = exporter(FakeClock(), finding(1), urls=[url])
        await manager.start()
        yield sender.Sender(
            name="am",
            url=url,
            client=client,
            every=timedelta(seconds=60),
            keys=manager._keys,
            alert=manager._alert,
            headers=manager.config.headers,
            timeout_seconds=0.2,
        )


async def test_one_that_never_ends_its_answer_is_left_in_time() -> None:
    # Limits on each read alone held a sender for ever, as long as something dripped.
    async def begin_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await reader.read()
        writer.close()

    async with telling(begin_only) as one, asyncio.timeout(3):
        with pytest.raises(sender.Refused, match="not answered within"):
            await one.tell_all()


async def test_of_an_endless_answer_only_so_much_is_read() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 x\r\nConnection: close\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        except ConnectionError:
            writer.close()

    async with telling(flood) as one, asyncio.timeout(3):
        with pytest.raises(sender.Refused, match=r"HTTP 500: 'x{200}'$"):
            await one.tell_all()


async def test_a_token_that_is_exchanged_is_read_anew(tmp_path: Path) -> None:
    token = tmp_path / "token"
    config = AlertmanagerConfig(urls=("http://a",), token_file=token)
    with pytest.raises(FileNotFoundError, match="token"):
        config.headers()
    for secret in ("first", "second"):
        token.write_text(secret + "\n")
        assert config.headers()["Authorization"] == f"Bearer {secret}"


async def test_name_and_password_are_sent_as_basic_auth(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p\u00e4ss\n")
    config = AlertmanagerConfig(urls=("http://a",), username="me", password_file=tmp_path / "password")
    scheme, _, both = config.headers()["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(both).decode()) == ("Basic", "me:p\u00e4ss")


async def test_a_secret_that_cannot_be_sent_is_not_shown(tmp_path: Path) -> None:
    for secret in ("s3cr\u00e9t", "s3cret\nX-Other: y"):
        (tmp_path / "token").write_text(secret, encoding="utf-8")
        config = AlertmanagerConfig(urls=("http://a",), token_file=tmp_path / "token")
        with pytest.raises(ValueError, match="token") as refused:
            config.headers()
        assert "s3cr" not in str(refused.value)


async def test_secrets_come_from_their_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    async with far_side() as side:
        manager = exporter(FakeClock(), finding(1), urls=[side.url], token_file=tmp_path / "token")
        async with running(manager), asyncio.timeout(5):
            await side.heard.wait()
    assert "Authorization: Bearer s3cret" in side.headers[0]
