"""Through real proxies: tinyproxy by CONNECT, microsocks by SOCKS5."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from certwatch.model.observation import Observation
from certwatch.plugins.testing import collect, make_certificate
from collectors.tls import TLSCollector
from tests.cli.stage import run
from tests.support.s_server import s_server
from tests.support.servers import accepts, free_port, program, running

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

ISSUED = make_certificate(names=["dns:localhost"])


async def seen(target: str, proxy: str, **more: Any) -> Observation:
    (observation,) = await collect(TLSCollector, {"targets": [target], "proxy": proxy, **more})
    assert isinstance(observation, Observation)
    return observation


async def _both(tmp_path: Path, proxy: str) -> None:
    with s_server(tmp_path, ISSUED) as port:
        for sweep in (False, True):
            observation = await seen(f"localhost:{port}", proxy, sweep=sweep)
            assert (observation.error, observation.chain) == (None, ISSUED.chain_der)
            assert observation.location == f"tls://localhost:{port}/?sni=localhost"
            assert observation.facts.get("swept", False) is sweep
    dead = await seen(f"127.0.0.1:{free_port()}", proxy)
    assert dead.error is not None
    assert dead.error.kind in ("refused", "unreachable", "other")


def _from_the_command_line(tmp_path: Path, proxy: str) -> None:
    (tmp_path / "again").mkdir()
    with s_server(tmp_path / "again", ISSUED) as port:
        ran = run("scan", "--json", "--proxy", proxy, f"localhost:{port}")
        assert json.loads(ran.out)["observations"][0]["chain"][0]["names"] == ["dns:localhost"]
    assert run("scan", "--proxy", "ftp://127.0.0.1", "localhost").status == 2
    assert run("scan", "--key", "some.key", "localhost").status == 2


async def test_connect_by_tinyproxy(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "tinyproxy.conf"
    config.write_text(f"Port {port}\nListen 127.0.0.1\nTimeout 20\nMaxClients 20\nBasicAuth ada secret\n")
    command = [program("tinyproxy", "tinyproxy"), "-d", "-c", str(config)]
    with running(command, ready=lambda: accepts(port), log=tmp_path / "log"):
        await _both(tmp_path, f"http://ada:secret@127.0.0.1:{port}")
        refused = await seen("127.0.0.1:443", f"http://ada:wrong@127.0.0.1:{port}")
        await anyio.to_thread.run_sync(
            _from_the_command_line, tmp_path, f"http://ada:secret@127.0.0.1:{port}"
        )
    assert refused.error is not None
    assert refused.error.kind == "permission"


async def test_socks5_by_microsocks(tmp_path: Path) -> None:
    port = free_port()
    command = [
        program("microsocks", "microsocks"),
        "-i",
        "127.0.0.1",
        "-p",
        str(port),
        "-u",
        "ada",
        "-P",
        "secret",
    ]
    with running(command, ready=lambda: accepts(port), log=tmp_path / "log"):
        await _both(tmp_path, f"socks5://ada:secret@127.0.0.1:{port}")
    gone = await seen("127.0.0.1:443", f"socks5://127.0.0.1:{free_port()}")
    assert gone.error is not None
    assert gone.error.kind == "refused"
