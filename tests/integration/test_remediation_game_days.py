"""Game days: something is broken in staging on purpose, and what should happen by itself happens. Real nginx, daemon and CA."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.daemon import certwatch
from tests.support.nginx import Nginx, nginx, presented
from tests.support.remediation import KEY_FILE, Renewing, dying, found_ca, server
from tests.support.servers import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
NAME = "shop.example.com"
HOSTS = ("127.0.0.1", "127.0.0.2")


@contextmanager
def staging(folder: Path, *, approve: str = "automatic") -> Iterator[tuple[Renewing, Nginx]]:
    """One certificate at two addresses, each with a file of its own; everybody looks every other second."""
    port, ca_port = free_port(), free_port()
    former = dying(NAME, hours=24 * 80)
    servers = [server(former, names=(NAME,), port=port, host=host) for host in HOSTS]
    with nginx(folder, servers) as web:
        targets = ", ".join(f'"tls://{host}:{port}/?sni={NAME}"' for host in HOSTS)
        labels = "labels: {environment: staging}"
        collectors = f"""
  - {{name: edge, kind: tls, every: 2s, targets: [{targets}], {labels}}}
  - {{name: hosts, kind: file, every: 2s, paths: ["{web.folder}/*.chain.pem"], {labels}}}"""
        reload = f"[nginx, -p, {web.folder}, -c, {web.folder}/nginx.conf, -s, reload]"
        more = f"""
rules: {{addresses-differ: {{grace: 0s}}}}
ca: {{directory: {folder}/ca, {KEY_FILE.format(folder=folder)}, lint: false, listen: '127.0.0.1:{ca_port}', url: 'http://127.0.0.1:{ca_port}'}}
remediation:
  directory: {folder}/remediation
  every: 1s
  policies:
    - name: web
      rules: [expiry]
      issuer: {{kind: embedded, profile: server}}
      deploy: [{{kind: files, paths: {web.folder}/*.chain.pem, key: '{{folder}}/{{first}}.key.pem', reload: {reload}}}]
      approve: {approve}
      verify: {{within: 60s}}
"""
        found_ca(folder, more)
        with certwatch(folder, collectors, more) as daemon:
            it = Renewing(daemon=daemon)
            daemon.wait(lambda: len(json.loads(daemon.command("list", NAME, "--json").stdout)["certificates"]) >= 1, "the certificate")  # fmt: skip
            yield it, web


def drill(it: Renewing, *words: str, within: str = "120s") -> dict[str, Any]:
    done = it.daemon.command(
        "remediate", "drill", *words, "--label", "environment=staging", "--why", "game day", "--within", within, "--json",
        seconds=200,
    )  # fmt: skip
    assert done.stdout, done.stderr + it.daemon.log[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if found["passed"] else 1)
    return found


def leaves(web: Nginx) -> set[bytes]:
    return {presented(web.port, host=host, name=NAME) for host in HOSTS}


def fingerprint(path: Path) -> str:
    der = x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
    return hashlib.sha256(der).hexdigest()


def seen(report: dict[str, Any]) -> list[str]:
    return [each["what"] for each in report["entries"] if each["kind"] == "seen"]


def test_the_scenarios_pass_and_are_proofs(tmp_path: Path) -> None:
    with staging(tmp_path) as (it, web):
        [before] = leaves(web)
        half = drill(it, "half-deployed", "--report", str(tmp_path / "report.md"))
        assert half["passed"], half
        assert seen(half) == ["a finding that places differ", "the finding to be resolved"]
        assert leaves(web) == {before}
        report = (tmp_path / "report.md").read_text()
        assert "# Exercise: half-deployed\n\n- result: passed, after " in report
        assert it.proofs()["game days"] == "not proven"

        expired = drill(it, "expired-certificate")
        assert expired["passed"], expired
        assert seen(expired) == [
            "a finding that it is expired",
            "a plan to replace it",
            "a new certificate, seen at every place",
            "the finding to be resolved",
        ]
        [new] = leaves(web)
        issuer = x509.load_der_x509_certificate(new).issuer.rfc4514_string()
        assert issuer == "CN=Test Issuing"

        ca = fingerprint(tmp_path / "intermediate.pem")
        # That a responder is out is found when it is asked again, at half the life of its last answer: hours. Here it is not
        # waited for; that it ends as a drill that did not pass, and that the responder answers again, is.
        outage = drill(it, "ocsp-outage", ca, within="4s")
        assert not outage["passed"]
        assert [each["what"] for each in outage["entries"]][-1] == "the responder answers again"
        assert leaves(web) == {new}

        lost = drill(it, "ca-compromised", ca)
        assert lost["passed"], lost
        assert leaves(web).isdisjoint({new})
        proofs = it.proofs()
        assert (proofs["game days"], proofs["compromise drill"]) == ("disproven", "proven")
        # Who broke what on purpose is in the ledger.
        assert it.daemon.command("ca", "audit", "verify").returncode == 0
        assert [each.name for each in web.folder.iterdir() if "certwatch" in each.name] == []


def test_what_nobody_approves_is_put_back_and_did_not_pass(tmp_path: Path) -> None:
    with staging(tmp_path, approve="one") as (it, web):
        before = leaves(web)
        report = drill(it, "expired-certificate", within="25s")
        assert not report["passed"]
        kinds = {each["what"]: each["kind"] for each in report["entries"]}
        assert kinds["a new certificate, seen at every place"] == "missed"
        assert any("waits for people: certwatch remediate approve" in each for each in kinds)
        assert kinds["what was there before was put back, and is served"] == "done"
        assert leaves(web) == before
        assert it.proofs()["game days"] == "disproven"
        # Without a daemon nothing would happen by itself: nothing is broken then.
        it.daemon.process.terminate()
        it.daemon.end()
        done = it.daemon.command(
            "remediate", "drill", "expired-certificate", "--label", "environment=staging", "--why", "x"
        )
        assert (done.returncode, "no daemon runs" in done.stderr) == (3, True), done.stderr
        assert leaves(web) == before
