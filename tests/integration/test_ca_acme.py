"""Clients that people use, against the daemon's own ACME server: certbot, lego and Caddy obtain, renew and revoke."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from certwatch.model.certificate import Certificate
from certwatch.model.clock import system_clock
from certwatch.plugins.issuer import CertificateRequest, IssuerContext
from certwatch.remediation.issuers.acme import AcmeConfig, AcmeIssuer
from certwatch.remediation.material import csr_for, material_of, new_key
from tests.support.daemon import Certwatch, certwatch
from tests.support.lego import BUILD_SECONDS, lego_with_ari
from tests.support.servers import accepts, free_port, program, running, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
NAME = "www.example.com"


@dataclass(frozen=True, kw_only=True)
class Stage:
    daemon: Certwatch
    folder: Path
    directory: str
    root: Path
    http_port: int
    tls_port: int

    @property
    def env(self) -> dict[str, str]:
        # Each client has its own way to be told of a root.
        return {
            **os.environ,
            "REQUESTS_CA_BUNDLE": str(self.root),
            "LEGO_CA_CERTIFICATES": str(self.root),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "HOME": str(self.folder),
        }

    def run(self, *words: str | Path) -> str:
        done = subprocess.run(
            [str(each) for each in words],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=90,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.daemon.log[-3000:]}"
        return done.stdout + done.stderr

    def issued(self) -> list[dict[str, str]]:
        listed = self.daemon.command("ca", "list", "--json")
        assert listed.returncode == 0, listed.stderr
        found = json.loads(listed.stdout)["certificates"]
        return [each for each in found if each["requester"].startswith("acme:")]


@contextmanager
def _names(folder: Path) -> Iterator[int]:
    """A name server that says 127.0.0.1 of every name."""
    port, management = free_port(), free_port()
    words = [
        program("pebble-challtestsrv", "pebble"), "-dns01", f"127.0.0.1:{port}", "-management", f"127.0.0.1:{management}",
        "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "",
    ]  # fmt: skip
    with running(words, ready=lambda: accepts(management), log=folder / "names.log"):
        yield port


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    tls, http_port, tls_port = free_port(), free_port(), free_port()
    with _names(tmp_path) as names:
        keys = f"""
ca:
  directory: {tmp_path}/ca
  key_file: {tmp_path}/ca.key
  key_passphrase: a secret of a test
  listen_tls: 127.0.0.1:{tls}
  hostnames: [localhost]
  profiles:
    server: {{names: [{{requesters: ["acme:*"], dns: [.example.com]}}]}}
  acme: {{networks: [127.0.0.0/8], resolvers: ["127.0.0.1:{names}"], http_port: {http_port}, tls_port: {tls_port}}}
"""
        config = tmp_path / "certwatch.yaml"
        config.write_text(keys)
        before = Certwatch(process=None, config=config, inventory=tmp_path, log_file=tmp_path / "log", port=0)  # type: ignore[arg-type]
        root = tmp_path / "root.pem"
        for words in (
            ("--root", "--name", "Test Root", "--out", str(root)),
            ("--intermediate", "--name", "Test Issuing", "--out", f"{tmp_path}/issuing.pem"),
        ):
            done = before.command("ca", "init", *words)
            assert done.returncode == 0, done.stderr
        with certwatch(tmp_path, more=keys) as daemon:
            yield Stage(
                daemon=daemon,
                folder=tmp_path,
                directory=f"https://localhost:{tls}/acme/directory",
                root=root,
                http_port=http_port,
                tls_port=tls_port,
            )


def _leaf(path: Path, root: Path) -> x509.Certificate:
    """The first of a chain that `openssl verify` takes up to the root."""
    leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", root, "-untrusted", path, path],
        capture_output=True,
        text=True,
        timeout=15,
    )
    assert done.returncode == 0, done.stderr
    return leaf


def test_certbot_obtains_follows_ari_and_revokes(stage: Stage) -> None:
    certbot = Path(sys.executable).with_name("certbot")
    folders = [
        word
        for kind in ("config", "work", "logs")
        for word in (f"--{kind}-dir", str(stage.folder / "certbot" / kind))
    ]
    common = ["--non-interactive", *folders, "--server", stage.directory]
    stage.run(
        certbot, "certonly", *common, "--standalone", "--http-01-address", "127.0.0.1", "--http-01-port",
        str(stage.http_port), "--agree-tos", "-m", "ops@example.com", "-d", NAME, "-d", f"api.{NAME}",
    )  # fmt: skip
    chain = stage.folder / "certbot" / "config" / "live" / NAME / "fullchain.pem"
    first = _leaf(chain, stage.root)
    renew = ("renew", *folders, "--no-random-sleep-on-renew", "--non-interactive")
    assert "No renewals were attempted" in stage.run(certbot, *renew)

    called = stage.daemon.command("ca", "renew-now", "--all", "--why", "drill")
    assert called.returncode == 0, called.stderr
    # As if its last look at ARI had been a day ago: it asks no more often than Retry-After allows.
    for each in (stage.folder / "certbot" / "config").glob("renewal/*.conf"):
        lines = [line for line in each.read_text().splitlines() if "ari_retry_after" not in line]
        each.write_text("\n".join(lines) + "\n")
    stage.run(certbot, *renew)
    second = _leaf(chain, stage.root)
    assert second.serial_number != first.serial_number

    stage.run(
        certbot,
        "revoke",
        *common,
        "--cert-path",
        chain,
        "--reason",
        "keycompromise",
        "--no-delete-after-revoke",
    )
    states = {int(each["serial"], 16): each["state"] for each in stage.issued()}
    assert states[second.serial_number] == "revoked"
    assert states[first.serial_number] == "issued"
    verified = stage.daemon.command("ca", "audit", "verify")
    assert verified.returncode == 0, verified.stdout


@pytest.mark.parametrize("method", ["http", "tls"])
def test_lego_obtains_with_an_external_binding_and_renews(stage: Stage, method: str) -> None:
    bound = stage.daemon.command("ca", "binding", "team-a")
    assert bound.returncode == 0, bound.stderr
    port = stage.http_port if method == "http" else stage.tls_port
    folder = stage.folder / "lego"
    lego = [
        program("lego", "lego"), "--server", stage.directory, "--email", "ops@example.com", "--accept-tos", "--path",
        str(folder), "--domains", NAME, f"--{method}", f"--{method}.port", f"127.0.0.1:{port}", "--eab", "--kid", "team-a",
        "--hmac", bound.stdout.strip(),
    ]  # fmt: skip
    stage.run(*lego, "run")
    path = folder / "certificates" / f"{NAME}.crt"
    first = _leaf(path, stage.root)
    stage.run(*lego, "renew", "--days", "3650", "--no-random-sleep")
    assert _leaf(path, stage.root).serial_number != first.serial_number
    assert {each["requester"] for each in stage.issued()} == {"acme:team-a"}


@pytest.mark.timeout(180 + BUILD_SECONDS)
def test_lego_renews_when_the_ca_asks_and_not_before(stage: Stage) -> None:
    folder = stage.folder / "lego"
    lego = [
        lego_with_ari(), "--server", stage.directory, "--email", "ops@example.com", "--accept-tos", "--path", str(folder),
        "--domains", NAME, "--http", "--http.port", f"127.0.0.1:{stage.http_port}",
    ]  # fmt: skip
    path = folder / "certificates" / f"{NAME}.crt"
    # By its own rule it would renew a month before the end: with "1" nothing but ARI can make it.
    renew = [*lego, "renew", "--no-random-sleep", "--days", "1"]
    stage.run(*lego, "run")
    first = _leaf(path, stage.root)
    assert "renewal is not needed" in stage.run(*renew)
    assert _leaf(path, stage.root) == first

    # As after a compromise: every client is told.
    called = stage.daemon.command("ca", "renew-now", "--all", "--why", "drill")
    assert called.returncode == 0, called.stderr
    assert "renewal is needed" in stage.run(*renew)
    second = _leaf(path, stage.root)
    assert second.serial_number != first.serial_number
    # It said which one the new one takes the place of (RFC 9773, 5), and is content then.
    assert "renewal is not needed" in stage.run(*renew)
    assert _leaf(path, stage.root) == second

    revoked = stage.daemon.command("ca", "revoke", f"{second.serial_number:x}", "--reason", "key-compromise")
    assert revoked.returncode == 0, revoked.stderr
    stage.run(*renew)
    third = _leaf(path, stage.root)
    assert third.serial_number not in (first.serial_number, second.serial_number)
    states = {int(each["serial"], 16): each["state"] for each in stage.issued()}
    assert [states[each.serial_number] for each in (first, second, third)] == ["issued", "revoked", "issued"]
    verified = stage.daemon.command("ca", "audit", "verify")
    assert verified.returncode == 0, verified.stdout


def test_caddy_serves_what_it_obtained_by_itself(stage: Stage) -> None:
    admin = free_port()
    config = stage.folder / "Caddyfile"
    config.write_text(
        f"""{{
    admin 127.0.0.1:{admin}
    http_port {stage.http_port}
    https_port {stage.tls_port}
    acme_ca {stage.directory}
    acme_ca_root {stage.root}
    email ops@example.com
    skip_install_trust
    storage file_system {stage.folder}/caddy
}}
{NAME} {{
    bind 127.0.0.1
    respond "hello"
}}
"""
    )
    words = [program("caddy", "caddy"), "run", "--config", str(config), "--adapter", "caddyfile"]
    context = ssl.create_default_context(cafile=str(stage.root))

    def served() -> bool:
        import socket

        try:
            with (
                socket.create_connection(("127.0.0.1", stage.tls_port), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname=NAME) as connection,
            ):
                return connection.getpeercert() is not None
        except OSError:
            return False

    with running(words, ready=lambda: accepts(admin), log=stage.folder / "caddy.log", env=stage.env):
        wait_until(served, what=f"caddy with a certificate\n{stage.daemon.log[-2000:]}", seconds=60)
    assert [each["state"] for each in stage.issued()] == ["issued"]


def test_our_own_issuer_obtains_replaces_by_ari_and_revokes(stage: Stage) -> None:
    """Remediation's ACME issuer against our own server, with an account that is bound."""
    bound = stage.daemon.command("ca", "binding", "team-b")
    assert bound.returncode == 0, bound.stderr
    binding = stage.folder / "binding"
    binding.write_text(bound.stdout)
    config = AcmeConfig(
        directory=stage.directory,
        agree_to_terms=True,
        trust_file=str(stage.root),
        http={"listen": f"127.0.0.1:{stage.http_port}"},  # type: ignore[arg-type]
        binding="team-b",
        binding_key_file=str(binding),
        seconds=60,
    )
    names = (f"dns:{NAME}", f"dns:api.{NAME}")
    issuer = AcmeIssuer(config, IssuerContext(clock=system_clock, state_folder=stage.folder / "accounts"))

    async def obtained(replaces: Certificate | None) -> Certificate:
        key = new_key("ec-p256")
        wanted = CertificateRequest(
            csr_pem=csr_for(key, names), names=names, replaces=replaces, idempotency_key="1"
        )
        return material_of(key.public_key(), await issuer.issue(wanted), names, key_pem=b"").certificate

    first = asyncio.run(obtained(None))
    second = asyncio.run(obtained(first))
    assert second.serial_hex != first.serial_hex
    asyncio.run(issuer.revoke(first, "superseded"))
    asyncio.run(issuer.revoke(first, "superseded"))
    issued = {each["serial"].lower().lstrip("0"): each for each in stage.issued()}
    assert {each["requester"] for each in issued.values()} == {"acme:team-b"}
    states = [issued[each.serial_hex.lower().lstrip("0")]["state"] for each in (first, second)]
    assert states == ["revoked", "issued"]
    assert stage.daemon.command("ca", "audit", "verify").returncode == 0
