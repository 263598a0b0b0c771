"""Sweeps over real servers: the same chain as a full handshake shows, whatever they speak."""

from pathlib import Path
from typing import Any

import pytest

from certwatch.model.observation import Observation
from certwatch.plugins.testing import collect, make_ca, make_certificate
from collectors.tls import TLSCollector
from tests.support.nginx import NginxServer, nginx
from tests.support.postfix import postfix
from tests.support.s_server import s_server

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

BETWEEN = make_ca("Test Intermediate", issuer=make_ca(), key_number=101)
ISSUED = make_certificate(names=["dns:www.example.com"], issuer=BETWEEN)


async def seen(target: str, **config: Any) -> Observation:
    (observation,) = await collect(
        TLSCollector, {"targets": [target], "sweep": True, "server_name": "www.example.com"} | config
    )
    assert isinstance(observation, Observation)
    assert observation.error is None
    assert observation.chain == ISSUED.chain_der
    return observation


@pytest.mark.parametrize(
    ("protocols", "swept", "version"),
    [("TLSv1.2 TLSv1.3", True, "TLSv1.2"), ("TLSv1.2", True, "TLSv1.2"), ("TLSv1.3", None, "TLSv1.3")],
)
async def test_nginx(tmp_path: Path, protocols: str, swept: bool | None, version: str) -> None:
    server = NginxServer(
        chain_pem=ISSUED.chain_pem, key_pem=ISSUED.key_pem, directives=f"ssl_protocols {protocols};"
    )
    with nginx(tmp_path, [server]) as running:
        observation = await seen(f"127.0.0.1:{running.port}")
    assert (observation.facts.get("swept"), observation.facts["tls_version"]) == (swept, version)


async def test_a_client_certificate_that_is_demanded_is_not_missed(tmp_path: Path) -> None:
    directives = f"ssl_verify_client on; ssl_client_certificate {tmp_path}/nginx/ca.pem;"
    server = NginxServer(
        chain_pem=ISSUED.chain_pem,
        key_pem=ISSUED.key_pem,
        directives=directives,
        files={"ca.pem": BETWEEN.pem},
    )
    with nginx(tmp_path, [server]) as running:
        assert (await seen(f"127.0.0.1:{running.port}")).facts["swept"] is True


@pytest.mark.parametrize(
    ("options", "version"),
    [
        (("-tls1_1",), "TLSv1.1"),
        (("-tls1",), "TLSv1"),
        (("-tls1_2", "-cipher", "eNULL:@SECLEVEL=0"), "TLSv1.2"),
    ],
)
async def test_old_servers(tmp_path: Path, options: tuple[str, ...], version: str) -> None:
    if "-cipher" not in options:
        options = (*options, "-cipher", "ALL:@SECLEVEL=0")
    with s_server(tmp_path, ISSUED, *options) as port:
        observation = await seen(f"127.0.0.1:{port}")
    assert observation.facts["tls_version"] == version
    if "eNULL:@SECLEVEL=0" in options:
        assert "NULL" in str(observation.facts["cipher"])


async def test_postfix() -> None:
    with postfix(chain_pem=ISSUED.chain_pem, key_pem=ISSUED.key_pem) as port:
        assert (await seen(f"127.0.0.1:{port}/smtp")).facts["swept"] is True
