"""The CA inside the real daemon, asked from outside: by its listeners and by the command line."""

import base64
import json
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.ocsp import (
    OCSPCertStatus,
    OCSPRequestBuilder,
    OCSPResponseStatus,
    load_der_ocsp_response,
)

from certwatch.ca.key_file import generate
from certwatch.ca.new_request import make_csr
from tests.support.daemon import Certwatch, certwatch, refused
from tests.support.servers import free_port, program, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]


@contextmanager
def daemon(folder: Path, more: str = "") -> Iterator[tuple[Certwatch, int, int]]:
    """With a root and an intermediate made by the command line beforehand; its ports: plain and TLS."""
    plain, tls = free_port(), free_port()
    keys = (
        f"ca: {{directory: {folder}/ca, key_file: {folder}/ca.key, key_passphrase: a secret of a test, lint: false,"
        f" listen: '127.0.0.1:{plain}', listen_tls: '127.0.0.1:{tls}', url: 'http://127.0.0.1:{plain}'{more}}}\n"
    )
    config = folder / "certwatch.yaml"
    config.write_text(keys)
    before = Certwatch(process=None, config=config, inventory=folder, log_file=folder / "log", port=0)  # type: ignore[arg-type]
    for words in (
        ("--root", "--name", "Test Root", "--out", f"{folder}/root.pem"),
        ("--intermediate", "--name", "Test Issuing", "--out", f"{folder}/issuing.pem"),
    ):
        done = before.command("ca", "init", *words)
        assert done.returncode == 0, done.stderr
    with certwatch(folder, more=keys) as running:
        yield running, plain, tls


def get(url: str, **more: Any) -> tuple[int, dict[str, str], bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, **more), timeout=15) as answer:  # noqa: S310
        return answer.status, {key.lower(): value for key, value in answer.headers.items()}, answer.read()


def test_the_daemon_publishes_what_certificates_point_to_and_the_command_line_asks_it(tmp_path: Path) -> None:
    with daemon(tmp_path) as (running, _, tls):
        made = running.command(
            "ca", "issue", "--name", "dns:www.example.com", "--profile", "server", "--json",
            "--out", f"{tmp_path}/www.pem",
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        serial = json.loads(made.stdout)["serial"]
        leaf = x509.load_pem_x509_certificates((tmp_path / "www.pem").read_bytes())[0]
        [point] = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert point.full_name is not None
        url = point.full_name[0].value

        def entry() -> Any:
            status, headers, der = get(url)
            assert status == 200
            assert headers["content-type"] == "application/pkix-crl"
            crl = x509.load_der_x509_crl(der)
            return crl.get_revoked_certificate_by_serial_number(int(serial, 16))

        assert entry() is None
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        [issuers] = [each for each in access if each.access_method._name == "caIssuers"]
        _, headers, der = get(issuers.access_location.value)
        assert headers["content-type"] == "application/pkix-cert"
        leaf.verify_directly_issued_by(x509.load_der_x509_certificate(der))

        revoked = running.command("ca", "revoke", serial, "--reason", "superseded")
        assert revoked.returncode == 0, revoked.stderr
        wait_until(lambda: entry() is not None, what="the revocation on the CRL")

        context = ssl.create_default_context(cafile=f"{tmp_path}/root.pem")
        with urllib.request.urlopen(f"https://localhost:{tls}/-/healthy", context=context, timeout=15) as ok:
            assert ok.status == 200
        verified = running.command("ca", "audit", "verify")
        assert verified.returncode == 0, verified.stdout
    # The daemon has ended: the command line has the CA for itself again.
    listed = running.command("ca", "crl", "--out", f"{tmp_path}/ca.crl")
    assert listed.returncode == 0, listed.stderr


def test_openssl_sees_good_become_revoked(tmp_path: Path) -> None:
    with daemon(tmp_path) as (running, plain, _):
        made = running.command(
            "ca", "issue", "--name", "dns:www.example.com", "--profile", "server", "--json",
            "--out", f"{tmp_path}/www.pem",
        )  # fmt: skip
        serial = json.loads(made.stdout)["serial"]
        leaf, above = x509.load_pem_x509_certificates((tmp_path / "www.pem").read_bytes())
        (tmp_path / "issuing.pem").write_bytes(above.public_bytes(Encoding.PEM))
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        [url] = [each.access_location.value for each in access if each.access_method._name == "OCSP"]

        def said(*more: str) -> str:
            done = subprocess.run(
                ["openssl", "ocsp", *more, "-issuer", f"{tmp_path}/issuing.pem", "-cert", f"{tmp_path}/www.pem",
                 "-CAfile", f"{tmp_path}/root.pem", "-verify_other", f"{tmp_path}/issuing.pem", "-url", url],
                capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            return done.stdout + done.stderr

        wait_until(lambda: "www.pem: good" in said(), what="the responder")
        for more in ((), ("-no_nonce",), ("-sha256",)):
            answer = said(*more)
            assert "Response verify OK" in answer, answer
            assert "www.pem: good" in answer
            assert "WARNING: no nonce" not in answer, "it gives the nonce back"
        request = OCSPRequestBuilder().add_certificate(leaf, above, SHA1()).build().public_bytes(Encoding.DER)  # noqa: S303
        path = quote(base64.b64encode(request), safe="")
        _, headers, der = get(f"{url}/{path}")
        assert load_der_ocsp_response(der).certificate_status is OCSPCertStatus.GOOD
        assert headers["content-type"] == "application/ocsp-response"
        assert "max-age=120" in headers["cache-control"]
        assert {"etag", "last-modified", "expires"} <= set(headers)
        assert running.command("ca", "revoke", serial, "--reason", "key-compromise").returncode == 0
        # At once, not when some cache has ended.
        answer = said("-no_nonce")
        assert "www.pem: revoked" in answer
        assert "Reason: keyCompromise" in answer
        _, _, der = get(f"{url}/{path}")
        assert load_der_ocsp_response(der).certificate_status is OCSPCertStatus.REVOKED
        answered = running.metric("certwatch_ca_ocsp_answers_total", outcome="revoked")
        assert answered is not None and answered >= 2
        # The daemon has asked as a client does, too.
        for via in ("ocsp", "crl"):
            running.wait(
                lambda via=via: running.metric("certwatch_ca_revocation_seconds_count", via=via) == 1,
                what=f"the revocation seen by {via}",
            )
            seconds = running.metric("certwatch_ca_revocation_seconds_sum", via=via)
            assert seconds is not None and 0 < seconds < 60
            assert running.metric("certwatch_ca_revocations_unseen", via=via) == 0
        _, _, der = get(f"http://127.0.0.1:{plain}/ocsp/1", data=b"x" * 5000)
        assert load_der_ocsp_response(der).response_status is OCSPResponseStatus.MALFORMED_REQUEST


def test_a_token_is_enrolled_with_and_then_its_certificate_opens_the_registration_authority(
    tmp_path: Path,
) -> None:
    profiles = (
        ", profiles: {client: {names: [{requesters: [web-7, 'dns:web-7.*'], dns: [web-7.example.com]}]}}"
    )
    curl = program("curl", "curl")
    with daemon(tmp_path, profiles) as (running, plain, tls):
        given = running.command(
            "ca", "enrol", "--requester", "web-7", "--profile", "client", "--name", "dns:web-7.example.com"
        )
        assert given.returncode == 0, given.stderr
        key = generate("ec-p256")
        (tmp_path / "web.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        (tmp_path / "ask.json").write_text(
            json.dumps({"csr": make_csr(key, ["dns:web-7.example.com"], None), "profile": "client"})
        )

        def asked(path: str, *words: str) -> dict[str, Any]:
            done = subprocess.run(
                [curl, "-sS", "--cacert", tmp_path / "root.pem", *words, f"https://localhost:{tls}{path}"],
                capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            answer: dict[str, Any] = json.loads(done.stdout)
            return answer

        body = ("--data-binary", f"@{tmp_path}/ask.json")
        bearer = ("-H", f"Authorization: Bearer {given.stdout.strip()}")
        first = asked("/ra/requests", *bearer, *body)
        assert first["state"] == "issued", first
        assert "was used already" in asked("/ra/requests", *bearer, *body)["detail"]
        (tmp_path / "web.pem").write_text(first["chain"])
        # By mTLS from now on: it renews by what it has.
        own = ("--cert", f"{tmp_path}/web.pem", "--key", f"{tmp_path}/web.key")
        second = asked("/ra/requests", *own, *body)
        assert second["state"] == "issued", second
        assert asked(f"/ra/requests/{second['request']}", *own)["requester"] == "dns:web-7.example.com"
        assert asked("/ra/requests")["title"] == "unauthenticated"
        status, _, note = get(f"http://127.0.0.1:{plain}/log/checkpoint")
        assert status == 200
        assert note.decode().startswith(get(f"http://127.0.0.1:{plain}/log/key")[2].decode().split("+")[0])


def test_a_daemon_without_the_ca_it_is_to_serve_does_not_start(tmp_path: Path) -> None:
    done = refused(tmp_path, f"ca: {{directory: {tmp_path}/none, listen: '127.0.0.1:0'}}\ninventory: sqlite://{tmp_path}/i.db\nexporters: []\n")  # fmt: skip
    assert done.returncode == 3
    assert "there is no CA. Make one" in done.stderr
    assert "Traceback" not in done.stderr
