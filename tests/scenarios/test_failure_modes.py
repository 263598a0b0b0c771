"""Each way in which certificates fail, through real servers: nginx serves, the daemon looks and judges, Alertmanager
shows the alert, and resolves it when the matter is mended."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import AuthorityInformationAccessOID

from certwatch.plugins.testing import Issued, make_ca, make_certificate
from tests.support.daemon import Certwatch, certwatch
from tests.support.nginx import Nginx, NginxServer, nginx
from tests.support.prometheus import alertmanager, alerts
from tests.support.servers import free_port, program, running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

NOW = datetime.now(UTC).replace(microsecond=0)
ROOT = make_ca(not_before=NOW - timedelta(days=100), not_after=NOW + timedelta(days=1000))
NAME = "shop.example.com"
SERIAL = 0x1234


def issued(
    *, begin: timedelta = timedelta(days=-20), end: timedelta = timedelta(days=70), **fields: Any
) -> Issued:
    return make_certificate(
        issuer=ROOT, names=(f"dns:{NAME}",), not_before=NOW + begin, not_after=NOW + end, **fields
    )


GOOD = issued()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    nginx: Nginx
    daemon: Certwatch
    manager: str

    def firing(self) -> set[str]:
        """Rules of the alerts that fire, of pages and tickets alike."""
        return {each["labels"]["rule"] for each in alerts(self.manager)}

    def fires(self, rule: str) -> dict[str, Any]:
        self.daemon.wait(lambda: rule in self.firing(), f"an alert of {rule}")
        return next(each for each in alerts(self.manager) if each["labels"]["rule"] == rule)

    def resolves(self, rule: str) -> None:
        self.daemon.wait(lambda: rule not in self.firing(), f"the end of the alert of {rule}")


@contextmanager
def world(
    folder: Path,
    *served: Issued,
    hosts: Sequence[str] = ("127.0.0.1",),
    http: str = "",
    collectors: str = "",
    more: str = "",
) -> Iterator[World]:
    """One nginx with a server for each certificate, at these addresses; a daemon that looks at them every second."""
    (folder / "root.pem").write_bytes(ROOT.pem)
    port = free_port()
    servers = [
        NginxServer(chain_pem=each.pem, key_pem=each.key_pem, port=port, host=host)
        for each, host in zip(served, hosts, strict=True)
    ]
    targets = ", ".join(f"'tls://{host}:{port}/?sni={NAME}'" for host in hosts)
    with (
        nginx(folder, servers, http=http) as server,
        alertmanager(folder / "alertmanager") as manager,
        certwatch(
            folder,
            f"\n  - {{name: edge, kind: tls, every: 1s, targets: [{targets}]}}\n"
            f"  - {{name: roots, kind: file, every: 1h, paths: ['{folder}/root.pem']}}\n{collectors}",
            more,
            trust=f"{{corp: [{folder}/root.pem]}}",
            exporters=f"{{kind: alertmanager, urls: ['{manager}']}}",
        ) as daemon,
    ):
        yield World(nginx=server, daemon=daemon, manager=manager)


def test_an_expired_certificate(tmp_path: Path) -> None:
    with world(tmp_path, issued(end=timedelta(hours=-1))) as it:
        alert = it.fires("expiry")
        assert alert["labels"]["severity"] == "page"
        assert "expired" in alert["annotations"]["summary"]
        it.nginx.swap(0, GOOD.pem, GOOD.key_pem)
        it.resolves("expiry")


def test_a_clock_that_is_wrong_somewhere(tmp_path: Path) -> None:
    """The CA's clock is ahead: what it issues is not valid yet."""
    with world(tmp_path, issued(begin=timedelta(hours=3))) as it:
        assert it.fires("not-yet-valid")["labels"]["severity"] == "page"
        it.nginx.swap(0, GOOD.pem, GOOD.key_pem)
        it.resolves("not-yet-valid")


def test_a_renewal_that_has_not_reached_every_address(tmp_path: Path) -> None:
    renewed = issued(begin=timedelta(days=-1), end=timedelta(days=89))
    more = "rules: {addresses-differ: {grace: 0s}}\n"
    with world(tmp_path, renewed, GOOD, hosts=("127.0.0.1", "127.0.0.2"), more=more) as it:
        alert = it.fires("addresses-differ")
        assert "127.0.0.2 still serves the certificate before" in alert["annotations"]["summary"]
        it.nginx.swap(1, renewed.pem, renewed.key_pem)
        it.resolves("addresses-differ")


def _prime(least: int) -> int:
    """The next one; by Fermat's test, which is right as good as always."""
    candidate = least | 1
    while pow(2, candidate - 1, candidate) != 1 or (candidate - 1) % 65537 == 0:
        candidate += 2
    return candidate


def close_primes() -> rsa.RSAPrivateKey:
    """A key that Fermat's method takes apart in a moment (CVE-2022-26320)."""
    p = _prime(3 << 1022)
    q = _prime(p + (1 << 64))
    d = pow(65537, -1, (p - 1) * (q - 1))
    return rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=d % (p - 1),
        dmq1=d % (q - 1),
        iqmp=pow(q, -1, p),
        public_numbers=rsa.RSAPublicNumbers(65537, p * q),
    ).private_key()


def test_a_key_that_is_not_secret(tmp_path: Path) -> None:
    broken = close_primes()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ROOT.certificate.subject)
        .public_key(broken.public_key())
        .serial_number(77)
        .not_valid_before(NOW - timedelta(days=20))
        .not_valid_after(NOW + timedelta(days=70))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=True)
    )
    certificate = builder.sign(ROOT.key, hashes.SHA256())
    with world(tmp_path, GOOD) as it:
        it.nginx.swap(
            0,
            certificate.public_bytes(serialization.Encoding.PEM),
            broken.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )
        alert = it.fires("key-broken")
        assert alert["labels"]["severity"] == "page"
        it.nginx.swap(0, GOOD.pem, GOOD.key_pem)
        it.resolves("key-broken")


def crl(*serials: int, begin: timedelta = timedelta(hours=-1)) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ROOT.certificate.subject)
        .last_update(NOW + begin)
        .next_update(NOW + timedelta(days=7))
        .add_extension(x509.CRLNumber(len(serials) + 1), critical=False)
    )
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW)
        reason = x509.CRLReason(x509.ReasonFlags.key_compromise)
        builder = builder.add_revoked_certificate(revoked.add_extension(reason, critical=False).build())
    return builder.sign(ROOT.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_a_key_that_was_compromised_and_its_certificate_revoked(tmp_path: Path) -> None:
    web, folder = free_port(), tmp_path / "web"
    folder.mkdir()
    (folder / "ca.crl").write_bytes(crl())
    url = x509.UniformResourceIdentifier(f"http://127.0.0.1:{web}/ca.crl")
    points = x509.CRLDistributionPoints([x509.DistributionPoint([url], None, None, None)])
    compromised = issued(serial_number=SERIAL, extensions=[(points, False)])
    http = f"server {{ listen 127.0.0.1:{web}; root {folder}; }}"
    collectors = "  - {name: revocation, kind: revocation, every: 1s, allowed_networks: [127.0.0.0/8]}\n"
    with world(tmp_path, compromised, http=http, collectors=collectors) as it:
        it.daemon.wait(
            lambda: it.daemon.metric("certwatch_crl_fetches_total", outcome="ok"), "the first list, fetched"
        )
        assert "revoked" not in it.firing()
        fresh = folder / "ca.new"
        fresh.write_bytes(crl(SERIAL))
        fresh.replace(folder / "ca.crl")
        alert = it.fires("revoked")
        assert alert["labels"]["severity"] == "page"
        it.nginx.swap(0, GOOD.pem, GOOD.key_pem)
        it.resolves("revoked")


def test_an_ocsp_responder_that_is_down(tmp_path: Path) -> None:
    port = free_port()
    url = x509.UniformResourceIdentifier(f"http://127.0.0.1:{port}/")
    access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, url)
    asked = issued(serial_number=SERIAL, extensions=[(x509.AuthorityInformationAccess([access]), False)])
    expires = (NOW + timedelta(days=70)).strftime("%y%m%d%H%M%SZ")
    (tmp_path / "index.txt").write_text(f"V\t{expires}\t\t{SERIAL:04X}\tunknown\t/CN=x\n")
    (tmp_path / "ca.key").write_bytes(ROOT.key_pem)
    collectors = "  - {name: revocation, kind: revocation, every: 1s, allowed_networks: [127.0.0.0/8]}\n"
    with world(
        tmp_path, asked, collectors=collectors, more="rules: {ocsp-failing: {ticket: 0s, page: 2s}}\n"
    ) as it:
        it.daemon.wait(
            lambda: any(
                each["labels"]["rule"] == "ocsp-failing" and each["labels"]["severity"] == "page"
                for each in alerts(it.manager)
            ),
            "a page that the responder is down",
        )
        command = [program("openssl", "openssl"), "ocsp", "-index", "index.txt", "-port", str(port)]
        command += ["-rsigner", "root.pem", "-rkey", "ca.key", "-CA", "root.pem", "-nmin", "60"]
        log = tmp_path / "ocsp.log"
        with running(command, ready=lambda: b"waiting for OCSP" in log.read_bytes(), log=log, cwd=tmp_path):
            it.resolves("ocsp-failing")


def test_a_matter_that_somebody_has_silenced_while_the_daemon_runs(tmp_path: Path) -> None:
    with world(tmp_path, issued(end=timedelta(hours=-1))) as it:
        it.fires("expiry")
        silence = ("silence", "add", "--where", 'finding.rule == "expiry"', "--until", "7d", "--why", "known")
        assert it.daemon.command(*silence).returncode == 0
        it.resolves("expiry")
        assert it.daemon.metric("certwatch_findings_silenced", rule="expiry") == 1
        assert it.daemon.command("silence", "end", "1").returncode == 0
        it.fires("expiry")


def test_a_key_that_somebody_says_is_compromised(tmp_path: Path) -> None:
    with world(tmp_path, GOOD) as it:
        it.daemon.wait(lambda: it.daemon.metric("certwatch_locations"), "the first look")
        (tmp_path / "stolen.pem").write_bytes(GOOD.pem)
        marked = it.daemon.command(
            "mark", "compromised", str(tmp_path / "stolen.pem"), "--why", "laptop stolen"
        )
        assert marked.returncode == 0, marked.stderr
        alert = it.fires("compromised")
        assert alert["labels"]["severity"] == "page"
        assert "laptop stolen" in alert["annotations"]["description"]
        fresh = issued(key_number=4242)
        it.nginx.swap(0, fresh.pem, fresh.key_pem)
        it.resolves("compromised")


def test_a_certificate_that_another_ca_has_issued_for_our_name(tmp_path: Path) -> None:
    """Misissued: a CA that clients trust, and that nobody here has chosen."""
    other = make_ca(
        "Another CA",
        key_number=901,
        not_before=NOW - timedelta(days=100),
        not_after=NOW + timedelta(days=1000),
    )
    strange = make_certificate(
        issuer=other,
        names=(f"dns:{NAME}",),
        not_before=NOW - timedelta(days=1),
        not_after=NOW + timedelta(days=80),
    )
    more = "rules: {issuer-unexpected: {expected: ['CN=Test Root*'], severity: page}}\n"
    with world(tmp_path, strange, more=more) as it:
        alert = it.fires("issuer-unexpected")
        assert alert["labels"]["severity"] == "page"
        assert "CN=Another CA, which is not among the CAs that may" in alert["annotations"]["summary"]
        it.nginx.swap(0, GOOD.pem, GOOD.key_pem)
        it.resolves("issuer-unexpected")


def test_a_ca_whose_clock_is_ahead_signs_lists_that_nobody_takes_yet(tmp_path: Path) -> None:
    web, folder = free_port(), tmp_path / "web"
    folder.mkdir()
    (folder / "ca.crl").write_bytes(crl(begin=timedelta(hours=3)))
    url = x509.UniformResourceIdentifier(f"http://127.0.0.1:{web}/ca.crl")
    points = x509.CRLDistributionPoints([x509.DistributionPoint([url], None, None, None)])
    http = f"server {{ listen 127.0.0.1:{web}; root {folder}; }}"
    collectors = "  - {name: revocation, kind: revocation, every: 1s, allowed_networks: [127.0.0.0/8]}\n"
    with world(tmp_path, issued(extensions=[(points, False)]), http=http, collectors=collectors) as it:
        alert = it.fires("clock-skew")
        assert "a CRL begins in the future" in alert["annotations"]["summary"]
        fresh = folder / "ca.new"
        fresh.write_bytes(crl())
        fresh.replace(folder / "ca.crl")
        it.resolves("clock-skew")


def test_a_host_that_is_expected_and_was_forgotten(tmp_path: Path) -> None:
    targets = tmp_path / "targets.json"
    targets.write_text('[{"targets": ["forgotten.example.com:443"], "labels": {"team": "web"}}]')
    collectors = f"  - {{name: expected, kind: hosts, every: 1s, file_sd: ['{targets}']}}\n"
    with world(tmp_path, GOOD, collectors=collectors, more="rules: {host-unseen: {grace: 0s}}\n") as it:
        alert = it.fires("host-unseen")
        assert (alert["labels"]["team"], alert["labels"]["collector"]) == ("web", "expected")
        targets.write_text("[]")
        it.resolves("host-unseen")
