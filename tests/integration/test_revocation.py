"""Revocation end to end: a real OCSP responder and a real web server, from good to revoked, and staples."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID

from certwatch.plugins.testing import Issued, make_ca, make_certificate
from tests.support.nginx import NginxServer, nginx
from tests.support.openssl import openssl
from tests.support.servers import free_port, program, running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

NOW = datetime.now(UTC).replace(microsecond=0)
ROOT = make_ca(not_before=NOW - timedelta(days=9), not_after=NOW + timedelta(days=900))


def leaf(ocsp_port: int, web_port: int) -> Issued:
    def uri(text: str) -> x509.UniformResourceIdentifier:
        return x509.UniformResourceIdentifier(text)

    described = x509.AccessDescription(
        AuthorityInformationAccessOID.OCSP, uri(f"http://127.0.0.1:{ocsp_port}/")
    )
    point = x509.DistributionPoint([uri(f"http://127.0.0.1:{web_port}/ca.crl")], None, None, None)
    return make_certificate(
        issuer=ROOT,
        names=("ip:127.0.0.1",),
        serial_number=0x1234,
        not_before=NOW - timedelta(days=2),
        not_after=NOW + timedelta(days=300),
        extensions=[
            (x509.AuthorityInformationAccess([described]), False),
            (x509.CRLDistributionPoints([point]), False),
        ],
    )


def write_index(folder: Path, *, revoked: bool) -> None:
    """openssl's database of one certificate."""
    expires = (NOW + timedelta(days=300)).strftime("%y%m%d%H%M%SZ")
    when = (NOW - timedelta(hours=1)).strftime("%y%m%d%H%M%SZ") + ",keyCompromise" if revoked else ""
    (folder / "index.txt").write_text(f"{'R' if revoked else 'V'}\t{expires}\t{when}\t1234\tunknown\t/CN=x\n")


@contextmanager
def responder(folder: Path, port: int) -> Iterator[None]:
    (folder / "ca.pem").write_bytes(ROOT.pem)
    (folder / "ca.key").write_bytes(ROOT.key_pem)
    command = [program("openssl", "openssl"), "ocsp", "-index", "index.txt", "-port", str(port)]
    command += ["-rsigner", "ca.pem", "-rkey", "ca.key", "-CA", "ca.pem", "-nmin", "60"]
    log = folder / "ocsp.log"

    def waits() -> bool:
        # Not by connecting: it serves one connection at a time and waits for a request on that one.
        return b"waiting for OCSP" in log.read_bytes()

    with running(command, ready=waits, log=log, cwd=folder):
        yield


def crl(*serials: int) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ROOT.certificate.subject)
        .last_update(NOW - timedelta(hours=1))
        .next_update(NOW + timedelta(days=7))
        .add_extension(x509.CRLNumber(len(serials) + 1), critical=False)
        # Without it the linter has something to say.
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ROOT.certificate.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
    )
    for serial in serials:
        entry = (
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - timedelta(hours=1))
        )
        builder = builder.add_revoked_certificate(entry.build())
    signed = builder.sign(ROOT.key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def certwatch(config: Path, *words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "certwatch", "-c", str(config), *words, "--json"],
        capture_output=True,
        timeout=30,
    )
    assert done.returncode in (0, 1), done.stderr.decode()
    return json.loads(done.stdout)


def test_a_certificate_is_good_and_then_revoked(tmp_path: Path) -> None:
    ocsp_port, web_port, tls_port = free_port(), free_port(), free_port()
    certificate = leaf(ocsp_port, web_port)
    web = tmp_path / "web"
    web.mkdir()
    (web / "ca.crl").write_bytes(crl())
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    config = tmp_path / "certwatch.yaml"
    config.write_text(
        f"inventory: sqlite:///{tmp_path}/inventory.db\n"
        f"trust: {{corp: [{tmp_path}/root.pem]}}\n"
        f"collectors:\n"
        f'  - {{name: edge, kind: tls, targets: ["127.0.0.1:{tls_port}"]}}\n'
        f'  - {{name: roots, kind: file, paths: ["{tmp_path}/root.pem"]}}\n'
        f"  - {{name: revocation, kind: revocation, allowed_networks: [127.0.0.0/8]}}\n"
    )
    server = NginxServer(chain_pem=certificate.pem + ROOT.pem, key_pem=certificate.key_pem, port=tls_port)
    files = f"server {{ listen 127.0.0.1:{web_port}; root {web}; }}"
    write_index(tmp_path, revoked=False)
    with nginx(tmp_path, [server], http=files):
        with responder(tmp_path, ocsp_port):
            certwatch(config, "collect", "edge", "roots")
            scans = certwatch(config, "collect", "revocation")["scans"]
            assert [(each["status"], each["errors"]) for each in scans] == [("complete", 0)]
            assert [each["rule"] for each in certwatch(config, "findings")["findings"]] == []
        (web / "ca.crl").write_bytes(crl(0x1234))
        write_index(tmp_path, revoked=True)
        with responder(tmp_path, ocsp_port):
            certwatch(config, "collect", "revocation")
            found = certwatch(config, "findings")["findings"]
            assert [(each["rule"], each["severity"]) for each in found] == [("revoked", "page")] * 2
            assert {each["fingerprint_sha256"] for each in found} == {
                certificate.certificate.fingerprint(hashes.SHA256()).hex()
            }
        # The certificate was replaced by nothing, and the responder is gone: the finding stays.
        certwatch(config, "collect", "revocation")
        assert {each["rule"] for each in certwatch(config, "findings")["findings"]} >= {"revoked"}


def test_a_staple_is_checked_as_it_is_served(tmp_path: Path) -> None:
    port = free_port()
    certificate = leaf(port, free_port())
    write_index(tmp_path, revoked=False)
    (tmp_path / "leaf.pem").write_bytes(certificate.pem)
    with responder(tmp_path, port):
        openssl(
            *("ocsp", "-issuer", tmp_path / "ca.pem", "-cert", tmp_path / "leaf.pem"),
            *(
                "-url",
                f"http://127.0.0.1:{port}/",
                "-respout",
                tmp_path / "staple.der",
                "-noverify",
                "-no_nonce",
            ),
        )
    good = (tmp_path / "staple.der").read_bytes()
    damaged = bytearray(good)
    damaged[good.index(ocsp.load_der_ocsp_response(good).signature) + 20] ^= 1
    (tmp_path / "damaged.der").write_bytes(damaged)
    servers = [
        NginxServer(
            chain_pem=certificate.pem + ROOT.pem,
            key_pem=certificate.key_pem,
            directives=f"ssl_stapling on; ssl_stapling_file {tmp_path}/{name}.der;",
        )
        for name in ("staple", "damaged")
    ]
    (tmp_path / "empty.yaml").write_text("collectors: []\n")
    with nginx(tmp_path, servers) as running_nginx:
        seen = [
            certwatch(
                tmp_path / "empty.yaml", "scan", f"127.0.0.1:{each}", "--trust", str(tmp_path / "ca.pem")
            )
            for each in running_nginx.ports
        ]
    facts = [each["observations"][0]["facts"] for each in seen]
    assert facts[0]["staple_status"] == "good"
    assert "staple_fault" not in facts[0]
    assert facts[1]["staple_fault"] == "signature"
    assert [each["rule"] for each in seen[1]["findings"]] == ["ocsp-staple"]
    assert seen[0]["findings"] == []
