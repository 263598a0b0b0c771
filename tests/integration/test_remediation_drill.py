"""A CA that must not be trusted any more: everything that it issued is replaced, and how long it took is said."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from cryptography import x509

from tests.support.nginx import presented
from tests.support.remediation import OLD_CA, fleet, fleet_names

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
COUNT = 12
CA = hashlib.sha256(OLD_CA.der).hexdigest()


def issuers(port: int) -> set[str]:
    found = (presented(port, name=each) for each in fleet_names(COUNT))
    return {x509.load_der_x509_certificate(each).issuer.rfc4514_string() for each in found}


def test_a_drill_replaces_all_of_staging_and_prints_its_m10(tmp_path: Path) -> None:
    with fleet(tmp_path, COUNT) as it:
        # Only where the label is: nothing in production.
        done = it.daemon.command("remediate", "compromise", CA, "--why", "game day", "--drill", "environment=prod", "--wait")  # fmt: skip
        assert (done.returncode, done.stdout.splitlines()[-1]) == (
            0,
            "incident 1 (drill): nothing to replace, M10 0.0 s",
        )
        done = it.daemon.command("remediate", "compromise", CA, "--why", "game day", "--drill", "environment=staging", "--wait")  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr + it.daemon.log
        first, last = done.stdout.splitlines()
        assert first == f"incident 2: {COUNT} certificates, {COUNT} plans"
        assert re.fullmatch(
            rf"incident 2 \(drill\): {COUNT} certificates replaced everywhere, M10 \d+\.\d s", last
        )
        assert issuers(it.nginx.port) == {"CN=Test Issuing"}
        said = json.loads(it.daemon.command("remediate", "status", "--json").stdout)["incidents"][0]
        assert (said["id"], said["drill"], said["plans"]) == (2, True, {"verified": COUNT})
        table = it.daemon.command("remediate", "status").stdout
        assert re.search(rf"2 \(drill\) .* {COUNT} of {COUNT} ", table), table
        it.daemon.wait(
            lambda: (
                it.daemon.metric(
                    "certwatch_incident_recovery_seconds", incident="2", drill="true", open="false"
                )
                == pytest.approx(said["recovery_seconds"], abs=0.01)
            ),
            "the metric",
        )
        proofs = it.proofs()
        assert (proofs["compromise drill"], proofs["CA key Test Issuing"]) == ("proven", "disproven")
        # An exercise: nothing is marked, and nothing of the kind is found.
        assert it.findings("compromised") == []
