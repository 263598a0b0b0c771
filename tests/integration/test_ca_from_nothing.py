"""The whole of it, as an operator does it: from an empty token to a certificate that is revoked, seen by others' programs."""

import json
import sqlite3
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.cas import softhsm
from tests.support.daemon import Certwatch, certwatch
from tests.support.nginx import NginxServer, nginx
from tests.support.servers import free_port, program

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

PROFILES = """\
web:
  usage: server
  lifetime: 47d
  longest: 90d
  names:
    - {dns: [.web.example.com, localhost]}
"""


def test_from_an_empty_token_to_a_revocation_that_everybody_sees(tmp_path: Path) -> None:
    curl = program("curl", "curl")
    token = softhsm(tmp_path, "from-nothing")
    (tmp_path / "profiles.yaml").write_text(PROFILES)
    plain = free_port()
    keys = (
        f"ca: {{directory: {tmp_path}/ca, token: '{token}', profiles: {tmp_path}/profiles.yaml,"
        f" listen: '127.0.0.1:{plain}', url: 'http://127.0.0.1:{plain}'}}\n"
    )
    config = tmp_path / "certwatch.yaml"
    config.write_text(keys)
    shell = Certwatch(process=None, config=config, inventory=tmp_path, log_file=tmp_path / "log", port=0)  # type: ignore[arg-type]

    def done(running: Certwatch, *words: str) -> str:
        ran = running.command("ca", *words)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    done(shell, "init", "--root", "--name", "Example Root", "--out", f"{tmp_path}/root.pem")
    done(shell, "init", "--intermediate", "--name", "Example Issuing", "--out", f"{tmp_path}/issuing.pem")
    siem = tmp_path / "events.ndjson"
    with certwatch(tmp_path, more=keys, exporters=f"{{kind: events, path: {siem}}}") as running:
        beyond = running.command(
            "ca", "issue", "--name", "dns:www.example.org", "--profile", "web", "--out", f"{tmp_path}/no.pem"
        )
        assert beyond.returncode == 3
        assert "profile web does not give this name" in beyond.stderr
        made = json.loads(
            done(running, "issue", "--name", "dns:localhost", "--profile", "web", "--json", "--out", f"{tmp_path}/www.pem")
        )  # fmt: skip
        chain = (tmp_path / "www.pem").read_bytes()
        leaf, above = x509.load_pem_x509_certificates(chain)
        (tmp_path / "above.pem").write_bytes(above.public_bytes(Encoding.PEM))

        done(
            running,
            "issue",
            "--name",
            "email:ann@example.com",
            "--profile",
            "client",
            "--out",
            f"{tmp_path}/ann.pem",
        )
        [url] = [
            each.access_location.value
            for each in leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
            if each.access_method._name == "OCSP"
        ]
        root_pem = (tmp_path / "root.pem").read_bytes()
        server = NginxServer(
            chain_pem=chain,
            key_pem=(tmp_path / "www.key").read_bytes(),
            directives=f"ssl_client_certificate {tmp_path}/nginx/root.pem; ssl_verify_client on; ssl_verify_depth 2;"
            f" ssl_stapling on; ssl_stapling_verify on; ssl_trusted_certificate {tmp_path}/nginx/all.pem;"
            f" ssl_stapling_responder {url};",
            files={"root.pem": root_pem, "all.pem": root_pem + above.public_bytes(Encoding.PEM)},
        )
        with nginx(tmp_path, [server]) as served:
            fetched = subprocess.run(
                [curl, "-sS", "--cacert", tmp_path / "root.pem", "--cert", tmp_path / "ann.pem", "--key", tmp_path / "ann.key",
                 "-w", "%{ssl_verify_result} %{http_code}", "-o", "/dev/null", f"https://localhost:{served.port}/"],
                capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            assert (fetched.returncode, fetched.stdout) == (0, "0 200"), fetched.stderr

            def stapled() -> bool:
                shown = subprocess.run(
                    ["openssl", "s_client", "-connect", f"127.0.0.1:{served.port}", "-status", "-CAfile", tmp_path / "root.pem"],
                    input="", capture_output=True, text=True, timeout=30, check=False,
                )  # fmt: skip
                return "Cert Status: good" in shown.stdout

            # nginx asks the responder beside the first handshake.
            running.wait(stapled, what="the staple")

        def said() -> str:
            ran = subprocess.run(
                ["openssl", "ocsp", "-issuer", tmp_path / "above.pem", "-cert", tmp_path / "www.pem", "-CAfile",
                 tmp_path / "root.pem", "-verify_other", tmp_path / "above.pem", "-url", url],
                capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            assert "Response verify OK" in ran.stderr, ran.stderr
            return ran.stdout

        running.wait(lambda: "www.pem: good" in said(), what="the responder")
        done(running, "revoke", made["serial"], "--reason", "key-compromise")
        assert "www.pem: revoked" in said()
        assert "the ledger is whole" in done(running, "audit", "verify")

        def told() -> dict[int, tuple[str, str]]:
            events = [json.loads(line) for line in siem.read_text().splitlines()] if siem.exists() else []
            return {
                each["certwatch"]["ledger"]["position"]: (
                    each["event"]["action"],
                    each["certwatch"]["ca"].get("serial", ""),
                )
                for each in events
                if each["event"]["dataset"] == "certwatch.ledger"
            }

        running.wait(lambda: ("ca-revocation", made["serial"]) in told().values(), what="the event")
        # All of them, also those from before the daemon was started.
        assert sorted(told()) == list(range(len(told())))
        assert told()[0][0] == "ca-issuer-intent"

    # Somebody with the file makes the revocation undone.
    connection = sqlite3.connect(tmp_path / "ca" / "ca.db")
    with connection:
        connection.execute("UPDATE certificates SET revoked = NULL, reason = NULL WHERE revoked IS NOT NULL")
    connection.close()
    found = shell.command("ca", "audit", "verify")
    assert found.returncode == 3
    assert (
        f"certificate {made['serial']}: its row says not revoked, the ledger key-compromise" in found.stdout
    )
