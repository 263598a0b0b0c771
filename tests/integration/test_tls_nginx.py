"""The TLS collector against a real nginx; what it sees is what `openssl s_client -showcerts` sees."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from certwatch.model.observation import Observation
from certwatch.plugins.collector import CollectError
from certwatch.plugins.testing import EPOCH, Issued, collect, make_ca, make_certificate
from collectors.tls import TLSCollector
from tests.support.nginx import Nginx, NginxServer, nginx, presented
from tests.support.s_server import showcerts
from tests.support.servers import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

ROOT = make_ca()
INTERMEDIATE = make_ca("Test Intermediate", issuer=ROOT, key_number=101)


def staple(issued: Issued) -> bytes:
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=issued.certificate,
        issuer=INTERMEDIATE.certificate,
        algorithm=hashes.SHA256(),
        cert_status=ocsp.OCSPCertStatus.GOOD,
        this_update=EPOCH,
        next_update=EPOCH + timedelta(days=7),
        revocation_time=None,
        revocation_reason=None,
    )
    response = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, INTERMEDIATE.certificate).sign(
        INTERMEDIATE.key,
        hashes.SHA256(),
    )
    return response.public_bytes(Encoding.DER)


@dataclass(frozen=True, kw_only=True)
class Site:
    issued: Issued
    directives: str = ""
    names: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    shared_port: bool = False


PLAIN = make_certificate(issuer=INTERMEDIATE, names=["dns:plain.example"])
STAPLED = make_certificate(issuer=INTERMEDIATE, names=["dns:stapled.example"], key_number=7)
SITES = {
    "default": Site(issued=PLAIN, shared_port=True),
    "named": Site(
        issued=make_certificate(issuer=INTERMEDIATE, names=["dns:b.example"], key_number=2),
        names=("b.example",),
        shared_port=True,
    ),
    "tls12": Site(issued=PLAIN, directives="ssl_protocols TLSv1.2;"),
    "tls10": Site(issued=PLAIN, directives="ssl_protocols TLSv1; ssl_ciphers ALL:@SECLEVEL=0;"),
    "rsa": Site(issued=make_certificate(issuer=INTERMEDIATE, key_kind="rsa", names=["dns:rsa.example"])),
    "weak": Site(
        issued=make_certificate(key_kind="rsa1024", names=["dns:weak.example"]),
        directives="ssl_ciphers ALL:@SECLEVEL=0;",
    ),
    "expired": Site(
        issued=make_certificate(
            issuer=INTERMEDIATE, not_before=EPOCH - timedelta(days=900), not_after=EPOCH - timedelta(days=800)
        )
    ),
    "client-certificate": Site(
        issued=PLAIN, directives="ssl_verify_client on; ssl_client_certificate client-ca.pem;"
    ),
    "client-certificate-tls12": Site(
        issued=PLAIN,
        directives="ssl_protocols TLSv1.2; ssl_verify_client on; ssl_client_certificate client-ca.pem;",
    ),
    "stapled": Site(issued=STAPLED, directives="ssl_stapling on; ssl_stapling_file staple.der;"),
    "stapled-tls12": Site(
        issued=STAPLED,
        directives="ssl_protocols TLSv1.2; ssl_stapling on; ssl_stapling_file staple.der;",
    ),
    "ipv6": Site(issued=PLAIN, host="::1"),
}
STAPLE = staple(STAPLED)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    shared = free_port()
    servers = [
        NginxServer(
            chain_pem=site.issued.chain_pem,
            key_pem=site.issued.key_pem,
            names=site.names,
            host=site.host,
            directives=site.directives,
            port=shared if site.shared_port else None,
            files={"client-ca.pem": ROOT.pem, "staple.der": STAPLE},
        )
        for site in SITES.values()
    ]
    with nginx(tmp_path_factory.mktemp("tls"), servers) as running:
        yield running


def port_of(served: Nginx, site: str) -> int:
    return served.ports[list(SITES).index(site)]


async def seen(target: str, **config: Any) -> Observation:
    (observation,) = await collect(TLSCollector, {"targets": [target]} | config)
    assert isinstance(observation, Observation)
    return observation


@pytest.mark.parametrize("site", SITES)
async def test_the_chain_is_what_s_client_shows(served: Nginx, site: str) -> None:
    port, asked = port_of(served, site), SITES[site]
    name = asked.names[0] if asked.names else None
    host = f"[{asked.host}]" if ":" in asked.host else asked.host
    observation = await seen(f"{host}:{port}", server_name=name)
    assert observation.error is None
    assert observation.chain == asked.issued.chain_der
    options = ["-tls1"] if site == "tls10" else []
    assert observation.chain == showcerts(port, *options, host=asked.host, name=name)


@pytest.mark.parametrize(
    ("site", "facts"),
    [
        ("default", {"tls_version": "TLSv1.3", "alpn": "http/1.1", "group": "x25519", "ocsp_stapled": False}),
        ("tls12", {"tls_version": "TLSv1.2", "client_certificate_requested": False}),
        ("tls10", {"tls_version": "TLSv1", "cipher": "ECDHE-ECDSA-AES256-SHA"}),
        ("client-certificate", {"tls_version": "TLSv1.3", "client_certificate_requested": True}),
        ("client-certificate-tls12", {"tls_version": "TLSv1.2", "client_certificate_requested": True}),
        ("stapled", {"tls_version": "TLSv1.3", "ocsp_stapled": True}),
        ("stapled-tls12", {"tls_version": "TLSv1.2", "ocsp_stapled": True}),
    ],
)
async def test_the_facts_are_the_servers(served: Nginx, site: str, facts: dict[str, object]) -> None:
    observation = await seen(f"127.0.0.1:{port_of(served, site)}")
    assert {name: observation.facts.get(name) for name in facts} == facts
    assert observation.stapled_ocsp == (STAPLE if facts.get("ocsp_stapled") else None)


async def test_localhost_is_seen_at_each_of_its_addresses(served: Nginx) -> None:
    found = await collect(
        TLSCollector, {"targets": [f"localhost:{port_of(served, 'default')}"], "family": "ipv4"}
    )
    assert [each.location for each in found if isinstance(each, Observation)] == [
        f"tls://127.0.0.1:{port_of(served, 'default')}/?sni=localhost"
    ]


async def test_a_swapped_certificate_is_seen_by_the_next_scan(tmp_path: Any) -> None:
    before, after = make_certificate(), make_certificate(key_kind="rsa")
    with nginx(tmp_path, [NginxServer(chain_pem=before.chain_pem, key_pem=before.key_pem)]) as running:
        assert (await seen(f"127.0.0.1:{running.port}")).chain == before.chain_der
        running.swap(0, after.chain_pem, after.key_pem)
        assert (await seen(f"127.0.0.1:{running.port}")).chain == after.chain_der
        assert presented(running.port) == after.der


async def test_nginx_takes_our_leaving_for_an_orderly_one(tmp_path: Any) -> None:
    issued = make_certificate()
    server = NginxServer(
        chain_pem=issued.chain_pem, key_pem=issued.key_pem, directives="error_log stderr info;"
    )
    with nginx(tmp_path, [server]) as running:
        for _ in range(5):
            await seen(f"127.0.0.1:{running.port}")
        log = (running.folder / "log").read_text()
    assert "SSL_do_handshake() failed" not in log
    assert "SSL_read() failed" not in log


def test_the_chain_under_test_has_an_intermediate() -> None:
    assert len(PLAIN.chain_der) == 2
    assert x509.load_der_x509_certificate(PLAIN.chain_der[1]).issuer == ROOT.certificate.subject


async def test_a_client_certificate_is_shown_to_who_asks_for_it(tmp_path: Path) -> None:
    ca = make_ca("Client Root", key_number=102)
    ours = make_certificate(names=["dns:watch.example.com"], issuer=ca)
    (tmp_path / "ours.pem").write_bytes(ours.pem)
    (tmp_path / "ours.key").write_bytes(ours.key_pem)
    (tmp_path / "other.pem").write_bytes(make_certificate(key_number=103).pem)
    issued = make_certificate()
    server = NginxServer(
        chain_pem=issued.chain_pem,
        key_pem=issued.key_pem,
        directives=f"ssl_protocols TLSv1.2; ssl_verify_client on; ssl_client_certificate {tmp_path}/nginx/ca.pem;",
        files={"ca.pem": ca.pem},
    )
    pair = {"cert_file": str(tmp_path / "ours.pem"), "key_file": str(tmp_path / "ours.key")}
    with nginx(tmp_path, [server]) as running:
        (seen,) = await collect(TLSCollector, {"targets": [f"127.0.0.1:{running.port}"], **pair})
        assert isinstance(seen, Observation)
        assert (seen.error, seen.chain) == (None, issued.chain_der)
        assert seen.facts["client_certificate_requested"] is True
        # The handshake came to its end, which it does not without a certificate before TLS 1.3.
        assert isinstance(seen.facts["group"], str)
        for wrong in (
            {"cert_file": str(tmp_path / "other.pem")},
            {"cert_file": str(tmp_path / "absent.pem")},
        ):
            with pytest.raises(CollectError, match="cert_file"):
                await collect(TLSCollector, {"targets": [f"127.0.0.1:{running.port}"], **pair, **wrong})
