"""The whole way: a certificate nears its end, a page fires, the CA in a token signs, the servers serve, the page resolves."""

from pathlib import Path

import pytest
from cryptography import x509

from tests.support.cas import softhsm
from tests.support.daemon import certwatch
from tests.support.haproxy import haproxy
from tests.support.nginx import nginx, presented
from tests.support.prometheus import alertmanager
from tests.support.remediation import (
    Receiver,
    Renewing,
    Visitor,
    dying,
    found_ca,
    rest_of_config,
    routed_to,
    server,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
NAME = "www.example.com"


def test_from_a_page_to_a_certificate_that_is_served_and_a_page_that_is_over(tmp_path: Path) -> None:
    """One certificate on nginx and on HAProxy, which has it in one file with its key. Nobody is turned away meanwhile."""
    token = tmp_path / "token"
    token.mkdir()
    keys = f"token: '{softhsm(token, 'remediation')}'"
    former = dying(NAME)
    receiver = Receiver()
    told = tmp_path / "told"
    with (
        receiver.listening() as url,
        alertmanager(tmp_path / "alertmanager", config=routed_to(url)) as manager,
        nginx(tmp_path, [server(former)]) as web,
        haproxy(tmp_path / "haproxy", former.pem + former.key_pem) as proxy,
    ):
        targets = ", ".join(f'"tls://127.0.0.1:{port}/?sni={NAME}"' for port in (web.port, proxy.port))
        collectors = f"""
  - {{name: edge, kind: tls, every: 1h, targets: [{targets}], labels: {{environment: prod}}}}
  - {{name: hosts, kind: file, every: 1h, paths: ["{web.folder}/*.chain.pem", "{proxy.certificate}"]}}"""
        reload = f"[nginx, -p, {web.folder}, -c, {web.folder}/nginx.conf, -s, reload]"
        # The health check waits until somebody was told, so that the page surely fires before it is over.
        policy = f"""issuer: {{kind: embedded, profile: server}}
      deploy:
        - {{kind: files, paths: {web.folder}/*.chain.pem, key: '{{folder}}/{{first}}.key.pem', reload: {reload}}}
        - {{kind: files, paths: {proxy.certificate}, pid_file: {proxy.pid_file}, signal: USR2}}
      approve: automatic
      verify: {{within: 60s, health: [sh, -c, 'until [ -e {told} ]; do sleep 0.1; done']}}"""
        more = rest_of_config(tmp_path, policy, keys=keys)
        found_ca(tmp_path, more)
        visitors = [Visitor(port, NAME) for port in (web.port, proxy.port)]
        exporters = f"{{kind: alertmanager, urls: ['{manager}']}}"
        with (
            visitors[0].visiting(),
            visitors[1].visiting(),
            certwatch(tmp_path, collectors, more, exporters=exporters) as daemon,
        ):
            it = Renewing(daemon=daemon)
            daemon.wait(lambda: ("firing", "expiry") in receiver.told, "a page that fires")
            told.touch()
            it.verified()
            daemon.wait(lambda: ("resolved", "expiry") in receiver.told, "a page that is over")
            [plan] = it.plans()
            # Every place: two that clients see, two files. The first file is the canary.
            assert [each["kind"] for each in plan["steps"]] == [
                "issue",
                "deploy",
                "verify",
                "deploy",
                "verify",
            ]
            assert daemon.command("ca", "audit", "verify").returncode == 0
            proofs = it.proofs()
            # A root in a file would be another matter: all keys are in the token.
            assert {"CA key Test Root", "CA key Test Issuing", "ledger", "production renews by itself"} <= {
                what for what, verdict in proofs.items() if verdict == "proven"
            }
            # Nobody has exercised, asked a responder, or been paged by hand.
            assert proofs["compromise drill"] == proofs["pages arrive"] == "not proven"
        for visitor in visitors:
            assert (visitor.failed, len(set(visitor.seen))) == (0, 2)
        [new] = {presented(port, name=NAME) for port in (web.port, proxy.port)}
        certificate = x509.load_der_x509_certificate(new)
        assert "Test Issuing" in certificate.issuer.rfc4514_string()
        # What signed is in the token, and no key of the CA lies in a file.
        assert not (tmp_path / "ca.key").exists()
        assert (
            proxy.certificate.stat().st_mode & 0o777,
            b"PRIVATE KEY" in proxy.certificate.read_bytes(),
        ) == (0o640, True)
