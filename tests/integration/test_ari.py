"""Renewal information of a real ACME server (pebble, where its version has it), and of what a web server says in its place."""

import asyncio
import json
import ssl
import subprocess
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from certwatch.model.observation import Incomplete, Observation
from certwatch.model.sighting import Served
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import FakeClock, make_ca, make_certificate
from certwatch.x509 import pem
from collectors.ari import ARICollector, ARIConfig
from collectors.ari.window import certificate_id, read_directory
from tests.integration.test_dns import View
from tests.support.nginx import nginx
from tests.support.pebble import Pebble, pebble
from tests.support.servers import accepts, free_port, program, wait_until
from tests.support.serving import served

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(90)]

DAY = timedelta(days=1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def collector(clock: FakeClock, view: View, **config: Any) -> ARICollector:
    return ARICollector(
        "ari", ARIConfig.model_validate(config), CollectorContext(clock=clock, view=cast("Any", view))
    )


async def told(it: ARICollector) -> list[Observation | Incomplete]:
    stream = cast("AsyncGenerator[Observation | Incomplete, None]", it.collect())
    async with aclosing(stream):
        return [each async for each in stream]


def directory_of(server: Pebble) -> bytes:
    trusted = ssl.create_default_context(cafile=server.root)
    with urllib.request.urlopen(server.directory_url, context=trusted, timeout=10) as answer:  # noqa: S310
        return bytes(answer.read())


def issue(server: Pebble, folder: Path) -> list[bytes]:
    command = [
        program("lego", "lego"),
        "--server",
        server.directory_url,
        "--accept-tos",
        "--email",
        "a@example.com",
    ]
    command += [
        "--domains",
        "www.example.com",
        "--path",
        str(folder),
        "--http",
        "--http.port",
        "127.0.0.1:0",
        "run",
    ]
    environment = {"LEGO_CA_CERTIFICATES": str(server.root), "HOME": str(folder)}
    subprocess.run(command, check=True, capture_output=True, timeout=60, env=environment)
    issued = (folder / "certificates/www.example.com.crt").read_bytes()
    return [each.data for each in pem.blocks(issued) if each.data]


async def test_an_acme_servers_window_is_read_without_an_account(tmp_path: Path) -> None:
    (tmp_path / "pebble").mkdir()
    with pebble(tmp_path / "pebble") as server:
        if not read_directory(await asyncio.to_thread(directory_of, server)):
            pytest.skip("this version of pebble has no renewal information (2.7 and later have)")
        place = served(await asyncio.to_thread(issue, server, tmp_path / "lego"))
        assert (
            place.leaf is not None and place.leaf.not_before is not None and place.leaf.not_after is not None
        )
        clock = FakeClock()
        clock.now = place.leaf.not_before + DAY
        it = collector(
            clock,
            View(place, served([make_certificate()])),
            directories={"*Pebble*": server.directory_url},
            ca_file=server.root,
        )
        (look,) = await told(it)
        assert isinstance(look, Observation) and look.error is None, look
        start, end = (datetime.fromisoformat(str(look.facts[each])) for each in ("ari_start", "ari_end"))
        assert place.leaf.not_before < start < end < place.leaf.not_after


CA = make_ca("ACME CA", key_number=160)
ONE = make_certificate(issuer=CA, serial_number=1)
TWO = make_certificate(issuer=CA, serial_number=2)
HOST = make_certificate(names=("ip:127.0.0.1",), issuer=CA)


def renewal_info(place: Served, folder: Path) -> None:
    """As RFC 9773, 4.2 has it, in a file."""
    assert place.leaf is not None
    id = certificate_id(place.leaf)
    assert id is not None
    window = {"start": "2026-12-01T00:00:00Z", "end": "2026-12-03T00:00:00Z"}
    (folder / id).write_text(
        json.dumps({"suggestedWindow": window, "explanationURL": "https://ca.example/why"})
    )


async def test_each_certificate_is_asked_about_once_and_again_when_its_time_is_over(tmp_path: Path) -> None:
    port, web = free_port(), tmp_path / "web"
    (web / "ari").mkdir(parents=True)
    for name, data in (("ca.pem", CA.pem), ("host.pem", HOST.pem), ("host.key", HOST.key_pem)):
        (tmp_path / name).write_bytes(data)
    (web / "directory").write_text(json.dumps({"renewalInfo": f"https://127.0.0.1:{port}/ari"}))
    first, second = served([ONE, CA]), served([TWO, CA], id=2)
    renewal_info(first, web / "ari")
    clock = FakeClock()
    # The system's clock decides about the server's own certificate: it need not be valid now.
    http = (
        f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {tmp_path}/host.pem;"
        f" ssl_certificate_key {tmp_path}/host.key; root {web}; location /ari {{ add_header Retry-After 21600; }} }}"
    )
    config = {
        "directories": {"CN=ACME CA": f"https://127.0.0.1:{port}/directory"},
        "ca_file": tmp_path / "ca.pem",
    }
    with nginx(tmp_path, [], http=http):
        await asyncio.to_thread(wait_until, lambda: accepts(port), what="nginx")
        it = collector(clock, View(first, second, served([ONE, CA], id=3)), **config)
        looks = {
            each.facts.get("certificate_name", "?"): each
            for each in await told(it)
            if isinstance(each, Observation)
        }
        known = looks["www.example.com"]
        assert known.facts["ari_end"] == "2026-12-03T00:00:00Z"
        assert known.facts["ari_explanation"] == "https://ca.example/why"
        unknown = looks["?"]
        assert unknown.error is not None and unknown.error.kind == "not-found"
        # Kept for six hours, as it was said.
        (web / "ari" / str(known.location.rpartition("/")[2])).unlink()
        clock.advance(hours=5)
        assert (
            len([each for each in await told(it) if isinstance(each, Observation) and each.error is None])
            == 1
        )
        clock.advance(hours=2)
        assert not [each for each in await told(it) if isinstance(each, Observation) and each.error is None]
    assert [type(each) for each in await told(it)] == [Incomplete], "its directory cannot be read any more"
