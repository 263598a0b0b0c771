"""From a finding to a new certificate that is served: real nginx, the real daemon, the embedded CA."""

from pathlib import Path

import pytest
from cryptography import x509

from tests.support.nginx import presented
from tests.support.remediation import Visitor, dying, host

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
NAME = "www.example.com"


def test_a_certificate_that_nears_its_end_is_replaced_while_clients_visit(tmp_path: Path) -> None:
    former = dying(NAME, "example.com")
    with host(tmp_path, former, names=[NAME]) as it:
        visitor = Visitor(it.nginx.port, NAME)
        with visitor.visiting():
            it.daemon.wait(lambda: any(each["state"] == "verified" for each in it.plans()), "a verified plan")
            it.daemon.wait(lambda: not it.findings("expiry"), "the finding to be resolved")
        assert visitor.failed == 0
        assert visitor.visits > 10
        assert len(set(visitor.seen)) == 2
        new = x509.load_der_x509_certificate(presented(it.nginx.port, name=NAME))
        assert "Test Issuing" in new.issuer.rfc4514_string()
        san = new.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert san.get_values_for_type(x509.DNSName) == [NAME, "example.com"]
        [plan] = it.plans()
        assert [each["state"] for each in plan["steps"]] == ["done"] * 3
        assert plan["cause"] == ["expiry"]
        # Nothing of the former key lies about, and the new one is for its server alone.
        assert [each.name for each in it.nginx.folder.iterdir() if "certwatch" in each.name] == []
        assert (it.nginx.folder / "0.key.pem").stat().st_mode & 0o007 == 0
        assert it.daemon.metric("certwatch_remediation_plans_total", outcome="verified") == 1
        assert it.daemon.command("ca", "audit", "verify").returncode == 0
