"""Every query of every panel and of every alert, asked of a real Prometheus that scrapes a real certwatch with data in it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from certwatch.plugins.testing import make_certificate
from tests.integration.test_revocation import NOW, ROOT, crl, leaf, responder, write_index
from tests.support.ct_log import TestLog, log_list, serving
from tests.support.nginx import NginxServer, nginx
from tests.support.prometheus import prometheus, query
from tests.support.servers import accepts, free_port, running, wait_until
from tests.test_alerts import ALERTS
from tests.test_dashboards import expressions

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


#: On counters that are not there before the first failure; promtool proves them.
ONLY_IN_TROUBLE = {
    "CertwatchCollectorFailing",
    "CertwatchInventoryWriteFailing",
    "CertwatchPluginFailing",
    "CertwatchNotificationsFailing",
    "CertwatchRemediationFailed",
    "CertwatchRemediationWaiting",
    "CertwatchCTLogMisbehaves",
    "CertwatchCATokenFailing",
    "CertwatchCAChoreFailing",
}

#: Of what is not at hand here: keys in AWS, workers of a zone. promtool proves them on series of that form.
ELSEWHERE = ("certwatch:kms_signatures", "CertwatchKMS", "CertwatchZone")


def recorded() -> dict[str, str]:
    """What is recorded, by name, with its expression."""
    groups = yaml.safe_load((ALERTS / "recording.yml").read_text())["groups"]
    return {rule["record"]: rule["expr"] for group in groups for rule in group["rules"]}


def without_threshold(expression: str) -> str:
    """What is compared, up to the first comparison, `and` or `or` that stands in no parentheses."""
    depth = 0
    for at, character in enumerate(expression):
        depth += {"(": 1, ")": -1, "{": 1, "}": -1, "[": 1, "]": -1}.get(character, 0)
        if depth == 0 and re.match(r" (?:[<>]=?|==|and|or) ", expression[at:]):
            return expression[:at].strip()
    return expression.strip()


def alerting() -> list[tuple[str, str]]:
    """Each alert's expression with what is recorded written out, and without its threshold: that alone may be empty."""
    found = []
    for name in ("alerts.yml", "findings.yml"):
        for group in yaml.safe_load((ALERTS / name).read_text())["groups"]:
            for rule in group["rules"]:
                expression = rule["expr"]
                if rule["alert"] in ONLY_IN_TROUBLE or rule["alert"].startswith(ELSEWHERE):
                    continue
                for record, meant in recorded().items():
                    expression = re.sub(
                        rf"{re.escape(record)}(?![a-z0-9_:])(\{{[^}}]*\}})?", f"({meant})", expression
                    )
                found.append((rule["alert"], without_threshold(expression)))
    return found


def test_every_query_returns_series(tmp_path: Path) -> None:
    ocsp_port, web_port, port, ca_port = free_port(), free_port(), free_port(), free_port()
    old = leaf(ocsp_port, web_port)
    renewed = make_certificate(
        issuer=ROOT, names=("ip:127.0.0.1",), not_before=NOW, not_after=NOW.replace(year=NOW.year + 2)
    )
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    config = tmp_path / "certwatch.yaml"
    web = tmp_path / "web"
    web.mkdir()
    (web / "ca.crl").write_bytes(crl())
    files = f"server {{ listen 127.0.0.1:{web_port}; root {web}; }}"
    write_index(tmp_path, revoked=False)
    # A log with a certificate that nobody here knows.
    log = TestLog()
    log.add(
        make_certificate(issuer=ROOT, names=("dns:unknown.example.com",), key_number=8).der, chain=[ROOT.der]
    )
    log.publish()
    with (
        nginx(
            tmp_path, [NginxServer(chain_pem=old.pem + ROOT.pem, key_pem=old.key_pem)], http=files
        ) as server,
        responder(tmp_path, ocsp_port),
        serving(log),
    ):
        (tmp_path / "logs.json").write_bytes(log_list(log.list_entry(static=False)))
        config.write_text(
            f"inventory: sqlite://{tmp_path}/inventory.db\n"
            f"trust: {{corp: [{tmp_path}/root.pem]}}\n"
            "collectors:\n"
            f"  - {{name: edge, kind: tls, every: 1s, targets: ['127.0.0.1:{server.port}', '127.0.0.1:1',"
            f" 'tls://127.0.0.1:{server.port}/?sni=other.example.com'],"
            " labels: {environment: prod, team: web}}\n"
            "  - {name: revocation, kind: revocation, every: 2s, allowed_networks: [127.0.0.0/8]}\n"
            "  - {name: logs, kind: ct, domains: [.example.com], every: 2s, start: beginning, contact: a@example.com,"
            f" log_list: '{tmp_path}/logs.json'}}\n"
            "rules: {ct-unexpected: {grace: 0s}}\n"
            "exporters:\n"
            f"  - {{kind: prometheus, listen: '127.0.0.1:{port}'}}\n"
            f"ca: {{directory: {tmp_path}/ca, key_file: {tmp_path}/ca.key, key_passphrase: a secret of a test, lint: false,"
            f" listen: '127.0.0.1:{ca_port}', listen_tls: '127.0.0.1:{free_port()}', url: 'http://127.0.0.1:{ca_port}'}}\n"
        )

        def ca(*words: str) -> str:
            done = subprocess.run(
                [sys.executable, "-m", "certwatch", "-c", str(config), "ca", *words],
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        for kind in ("root", "intermediate"):
            ca("init", f"--{kind}", "--name", f"Test {kind}", "--out", f"{tmp_path}/{kind}.pem")
        new = ("issue", "--name", "dns:new.example.com", "--profile", "server", "--json", "--out")
        command = [sys.executable, "-m", "certwatch", "run", "-c", str(config)]
        with (
            running(command, ready=lambda: accepts(port), log=tmp_path / "certwatch.log"),
            prometheus(tmp_path / "prometheus", f"127.0.0.1:{port}") as scraper,
        ):
            answered = "certwatch_ocsp_request_seconds_count"
            wait_until(lambda: bool(query(scraper, answered)), what="the responder was asked", seconds=60)
            ca(*new, f"{tmp_path}/first.pem")
            asked_of_ca = 'certwatch_ca_requests_total{outcome="ok"}'
            wait_until(lambda: bool(query(scraper, asked_of_ca)), what="the CA was asked", seconds=60)
            ca("revoke", json.loads(ca(*new, f"{tmp_path}/second.pem"))["serial"], "--reason", "superseded")
            # One that is replaced in a moment, one that stays.
            (tmp_path / "old.pem").write_bytes(old.pem)
            for each in ("old.pem", "root.pem"):
                words = ["mark", "compromised", str(tmp_path / each), "--why", "stolen", "-c", str(config)]
                subprocess.run([sys.executable, "-m", "certwatch", *words], check=True, timeout=60)
            told = 'certwatch_findings_open{rule="compromised"} > 1'
            wait_until(lambda: bool(query(scraper, told)), what="the keys were told of", seconds=60)
            server.swap(0, renewed.pem + ROOT.pem, renewed.key_pem)
            renewals = "increase(certwatch_renewals_total[30d])"
            wait_until(lambda: bool(query(scraper, renewals)), what="the renewal was scraped", seconds=60)
            empty: list[str] = []

            def all_answer() -> bool:
                series = [each for each in recorded().items() if not each[0].startswith(ELSEWHERE)]
                asked = [*expressions(), *series, *alerting()]
                empty[:] = [f"{name}: {each}" for name, each in asked if not query(scraper, each)]
                return not empty

            try:
                wait_until(all_answer, what="every query has series", seconds=60)
            except TimeoutError:
                pytest.fail("no series: " + "\n".join(empty))
