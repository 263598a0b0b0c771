"""Servers that nobody should run any more, by `openssl s_server`."""

from pathlib import Path
from typing import Any

import pytest

from certwatch.model.observation import Observation
from certwatch.plugins.testing import collect, make_ca, make_certificate
from collectors.tls import TLSCollector
from tests.support.openssl_files import openssl
from tests.support.s_server import certificates, s_server, showcerts

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

WEAK = ("-cipher", "ALL:@SECLEVEL=0")
ISSUED = make_certificate(issuer=make_ca("Test Intermediate", issuer=make_ca(), key_number=101))
RSA = make_certificate(key_kind="rsa1024")


async def seen(port: int, **config: Any) -> Observation:
    (observation,) = await collect(TLSCollector, {"targets": [f"127.0.0.1:{port}"]} | config)
    assert isinstance(observation, Observation)
    return observation


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (["-tls1"], {"tls_version": "TLSv1"}),
        (["-tls1_1"], {"tls_version": "TLSv1.1"}),
        (["-tls1_2", "-cipher", "kRSA:@SECLEVEL=0"], {"cipher": "AES256-GCM-SHA384", "group": None}),
        (["-tls1_2", "-cipher", "NULL:@SECLEVEL=0"], {"cipher": "ECDHE-RSA-NULL-SHA"}),
        (["-tls1_2", "-cipher", "DHE:@SECLEVEL=0"], {"cipher": "DHE-RSA-AES256-GCM-SHA384", "group": None}),
        (["-tls1_2", "-sigalgs", "RSA+SHA1"], {"tls_version": "TLSv1.2"}),
        (["-tls1_3", "-groups", "P-521"], {"group": "secp521r1"}),
        (["-tls1_3", "-groups", "ffdhe2048"], {"group": "ffdhe2048"}),
        (
            ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
            {"cipher": "TLS_CHACHA20_POLY1305_SHA256"},
        ),
    ],
)
async def test_the_old_and_the_weak_are_seen(
    tmp_path: Path, options: list[str], facts: dict[str, object]
) -> None:
    level = () if "-cipher" in options else WEAK
    with s_server(tmp_path, RSA, *level, *options) as port:
        observation = await seen(port)
    assert observation.error is None
    assert observation.chain == RSA.chain_der
    assert {name: observation.facts.get(name) for name in facts} == facts


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["-sha1", "-newkey", "rsa:1024"], []),
        (["-md5", "-newkey", "rsa:512"], ["-tls1_2"]),
        (["-newkey", "ed448"], []),
        (["-newkey", "rsa-pss"], []),
        (["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"], ["-tls1_2"]),
    ],
    ids=lambda words: "-".join(words) or "any",
)
async def test_odd_keys_and_signatures_are_seen(tmp_path: Path, words: list[str], options: list[str]) -> None:
    key, certificate = tmp_path / "odd.key", tmp_path / "odd.pem"
    openssl(
        *("req", "-x509", "-nodes", "-days", "1", *words),
        *("-subj", "/CN=odd.example", "-keyout", key, "-out", certificate),
    )
    with s_server(tmp_path, (certificate.read_bytes(), key.read_bytes()), *WEAK, *options) as port:
        observation = await seen(port)
        shown = showcerts(port, "-curves", "X25519:P-256:brainpoolP256r1")
        assert observation.chain == certificates(certificate.read_bytes()) == shown
    assert observation.error is None


@pytest.mark.parametrize("version", ["-tls1_3", "-tls1_2", "-tls1_1"])
async def test_a_server_that_demands_a_client_certificate_was_seen(tmp_path: Path, version: str) -> None:
    with s_server(tmp_path, ISSUED, *WEAK, version, "-Verify", "1") as port:
        observation = await seen(port)
    assert observation.error is None
    assert observation.chain == ISSUED.chain_der
    assert observation.facts["client_certificate_requested"] is True


async def test_a_chain_comes_in_the_order_it_is_presented_in(tmp_path: Path) -> None:
    root = make_ca()
    stray, upper = (
        make_certificate(names=["dns:stray.example"]),
        make_ca("Upper", issuer=root, key_number=102),
    )
    with s_server(tmp_path, ISSUED, *WEAK, chain_pem=stray.pem + root.pem + upper.pem) as port:
        observation = await seen(port)
        assert observation.chain == (ISSUED.der, stray.der, root.der, upper.der) == showcerts(port)


async def test_a_server_without_certificate_refuses_with_an_alert(tmp_path: Path) -> None:
    with s_server(tmp_path, ISSUED, "-tls1_2", "-cipher", "aNULL:@SECLEVEL=0") as port:
        observation = await seen(port)
    assert observation.chain == ()
    assert observation.error is not None
    assert observation.error.kind == "tls-alert"


async def test_a_group_that_only_the_server_knows_ends_in_an_alert(tmp_path: Path) -> None:
    with s_server(tmp_path, ISSUED, "-tls1_3", "-groups", "ffdhe8192") as port:
        observation = await seen(port)
    assert observation.error is not None
    assert observation.error.kind == "tls-alert"
    assert "handshake failure" in observation.error.message
