"""A certificate that the CA's key signed past the ledger, served by nginx: found by holding what is in use against the ledger."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certwatch.ca.certificate import authority_key
from certwatch.ca.key_file import generate
from certwatch.model.clock import system_clock
from certwatch.plugins.testing import FakeClock
from tests.support.cas import authority, issued
from tests.support.daemon import certwatch
from tests.support.nginx import NginxServer, nginx

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

DOCS = Path(__file__).parents[2] / "docs" / "ca.md"


def query() -> str:
    """As docs/ca.md has it."""
    lines = DOCS.read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if "query: >-" in line)
    text = []
    for line in lines[begin + 1 :]:
        if not line.startswith("      "):
            break
        text.append(line.strip())
    return " ".join(text)


def test_a_certificate_that_was_signed_past_the_ledger_pages(tmp_path: Path) -> None:
    begun = datetime.now(UTC) - timedelta(days=3)
    key = generate("ec-p256")
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with authority(tmp_path, FakeClock(begun)) as ca:
        honest = issued(ca, "dns:honest.example.com", key=key)
        above = ca.issuer().certificate
        # Whoever has the token and its PIN can do as much.
        rogue = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rogue.example.com")]))
            .issuer_name(above.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begun)
            .not_valid_after(begun + timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("rogue.example.com")]), False)
            .add_extension(authority_key(above), False)
            .sign(ca.keys.open(ca.issuer().key), hashes.SHA256())  # type: ignore[arg-type]
        )
    (tmp_path / "root.pem").write_bytes(above.public_bytes(Encoding.PEM))
    assert system_clock() > begun
    servers = [
        NginxServer(chain_pem=honest.chain, key_pem=pem),
        NginxServer(chain_pem=rogue.public_bytes(Encoding.PEM), key_pem=pem),
    ]
    with nginx(tmp_path, servers) as served:
        collectors = (
            f"\n  - {{name: own-ca, kind: ca-database, every: 1h, preset: sql, url: 'sqlite:///{tmp_path}/ca/ca.db',"
            f" authorities: ['{tmp_path}/root.pem'], query: {json.dumps(query())}}}"
            f"\n  - {{name: edge, kind: tls, every: 5s, targets: ['127.0.0.1:{served.ports[0]}', '127.0.0.1:{served.ports[1]}']}}"
        )
        with certwatch(tmp_path, collectors, trust=f"{{corp: ['{tmp_path}/root.pem']}}") as running:

            def found() -> list[dict[str, str]]:
                listed = json.loads(running.command("findings", "--rule", "ca-unrecorded", "--json").stdout)
                return [
                    {"severity": each["severity"], "location": each["location"]}
                    for each in listed["findings"]
                ]

            running.wait(lambda: found() != [], what="the finding")
            [finding] = found()
            assert finding["severity"] == "page"
            assert f":{served.ports[1]}/" in finding["location"]
