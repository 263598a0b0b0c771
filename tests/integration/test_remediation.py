"""From a finding to a new certificate that is served: real nginx, the real daemon, the embedded CA."""

from pathlib import Path

import pytest
from cryptography import x509

from tests.support.daemon import Certwatch, config_text
from tests.support.nginx import nginx, presented
from tests.support.remediation import Visitor, config, dying, found_ca, host, server
from tests.support.servers import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
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


def test_without_a_daemon_the_command_line_carries_it_out_by_itself(tmp_path: Path) -> None:
    """By the embedded CA: asked from a thread, it found no context of the command line, and nothing was ever issued."""
    with nginx(tmp_path, [server(dying(NAME))]) as web:
        collectors, rest = config(tmp_path, web, names=[NAME], policy="approve: one")
        found_ca(tmp_path, rest)
        path = tmp_path / "certwatch.yaml"
        path.write_text(config_text(tmp_path, free_port(), collectors, rest))
        it = Certwatch(process=None, config=path, inventory=tmp_path, log_file=tmp_path / "log", port=0)  # type: ignore[arg-type]
        before = presented(web.port, name=NAME)
        for words, status, says in (
            (("collect",), 1, "complete"),
            (("remediate", "plan", "--save"), 1, "plan 1"),
            (("remediate", "apply", "1"), 3, ""),
            (("remediate", "approve", "1", "--why", "seen"), 0, "plan 1: approved"),
            (("remediate", "apply", "1"), 0, "plan 1: verified"),
        ):
            done = it.command(*words)
            assert (done.returncode, says in done.stdout) == (status, True), (words, done.stdout, done.stderr)
            assert "Traceback" not in done.stderr
        assert presented(web.port, name=NAME) != before
        assert it.command("ca", "audit", "verify").returncode == 0
