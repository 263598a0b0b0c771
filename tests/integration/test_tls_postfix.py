"""STARTTLS of a real Postfix."""

from typing import Any

import pytest

from certwatch.model.observation import Observation
from certwatch.plugins.testing import collect, make_ca, make_certificate
from collectors.tls import TLSCollector
from tests.support.postfix import postfix
from tests.support.s_server import showcerts

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

ISSUED = make_certificate(
    names=["dns:mx.example.com"], issuer=make_ca("Test Intermediate", issuer=make_ca(), key_number=101)
)


async def seen(target: str, **config: Any) -> Observation:
    (observation,) = await collect(TLSCollector, {"targets": [target]} | config)
    assert isinstance(observation, Observation)
    return observation


async def test_a_mail_servers_chain_is_what_s_client_shows() -> None:
    with postfix(chain_pem=ISSUED.chain_pem, key_pem=ISSUED.key_pem) as port:
        observation = await seen(f"127.0.0.1:{port}/smtp", server_name="mx.example.com")
        assert observation.chain == ISSUED.chain_der
        assert observation.chain == showcerts(port, "-starttls", "smtp", name="mx.example.com")
        assert observation.location == f"tls://127.0.0.1:{port}/?sni=mx.example.com&protocol=smtp"
        assert observation.error is None
        assert isinstance(observation.facts["starttls_seconds"], float)
        assert "alpn" not in observation.facts
        in_the_clear = await seen(f"127.0.0.1:{port}")
    assert in_the_clear.error is not None
    assert in_the_clear.error.kind == "not-tls"
    assert "/smtp" in in_the_clear.error.message


async def test_a_mail_server_without_tls_says_so() -> None:
    settings = "smtpd_tls_security_level = none"
    with postfix(chain_pem=ISSUED.chain_pem, key_pem=ISSUED.key_pem, settings=settings) as port:
        observation = await seen(f"127.0.0.1:{port}/smtp")
    assert observation.error is not None
    assert observation.error.kind == "not-tls"
    assert "does not offer STARTTLS" in observation.error.message


async def test_a_mail_server_that_asks_for_a_client_certificate_was_seen() -> None:
    settings = (
        "smtpd_tls_ask_ccert = yes\nsmtpd_tls_mandatory_protocols = TLSv1.2\nsmtpd_tls_protocols = TLSv1.2"
    )
    with postfix(chain_pem=ISSUED.chain_pem, key_pem=ISSUED.key_pem, settings=settings) as port:
        observation = await seen(f"127.0.0.1:{port}/smtp")
    assert observation.chain == ISSUED.chain_der
    assert observation.facts["tls_version"] == "TLSv1.2"
    assert observation.facts["client_certificate_requested"] is True
