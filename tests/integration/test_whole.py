"""The whole way, with real servers at both ends: nginx serves, the daemon looks and judges, Prometheus scrapes, and
Alertmanager shows the alert and resolves it once nginx serves a renewed certificate."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certwatch.plugins.testing import Issued, make_ca, make_certificate
from tests.support.nginx import NginxServer, nginx
from tests.support.prometheus import alertmanager, alerts, prometheus, query
from tests.support.servers import accepts, free_port, running, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

NOW = datetime.now(UTC).replace(microsecond=0)
ROOT = make_ca(not_before=NOW - timedelta(days=100), not_after=NOW + timedelta(days=1000))


def issued(*, left: timedelta) -> Issued:
    return make_certificate(
        issuer=ROOT, names=("dns:localhost",), not_before=NOW - timedelta(days=80), not_after=NOW + left
    )


def test_from_a_dying_certificate_to_a_page_and_from_its_renewal_to_the_all_clear(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    dying, renewed = issued(left=timedelta(hours=10)), issued(left=timedelta(days=90))
    port = free_port()
    with (
        nginx(tmp_path, [NginxServer(chain_pem=dying.chain_pem, key_pem=dying.key_pem)]) as server,
        alertmanager(tmp_path / "alertmanager") as manager,
    ):
        config = tmp_path / "certwatch.yaml"
        config.write_text(
            f"inventory: sqlite://{tmp_path}/inventory.db\n"
            f"trust: {{corp: [{tmp_path}/root.pem]}}\n"
            "collectors:\n"
            f"  - {{name: edge, kind: tls, every: 1s, targets: ['tls://127.0.0.1:{server.port}/?sni=localhost'],"
            " labels: {environment: prod, team: web}}\n"
            "exporters:\n"
            f"  - {{kind: prometheus, listen: '127.0.0.1:{port}'}}\n"
            f"  - {{kind: alertmanager, urls: ['{manager}']}}\n"
        )
        command = [sys.executable, "-m", "certwatch", "run", "-c", str(config)]
        with (
            running(command, ready=lambda: accepts(port), log=tmp_path / "certwatch.log"),
            prometheus(tmp_path / "prometheus", f"127.0.0.1:{port}") as scraper,
        ):
            wait_until(lambda: len(alerts(manager)) == 1, what="the page", seconds=40)
            (page,) = alerts(manager)
            assert page["labels"]["alertname"] == "CertwatchExpiry"
            assert (page["labels"]["severity"], page["labels"]["team"]) == ("page", "web")
            assert page["labels"]["environment"] == "prod"
            assert f"tls://127.0.0.1:{server.port}/" in page["annotations"]["locations"]

            ends = "certwatch_certificate_not_after_timestamp_seconds"
            wait_until(lambda: bool(query(scraper, ends)), what="Prometheus", seconds=40)
            assert int(query(scraper, ends)[0]["value"][1]) == int((NOW + timedelta(hours=10)).timestamp())

            server.swap(0, renewed.chain_pem, renewed.key_pem)
            wait_until(lambda: alerts(manager) == [], what="the all-clear", seconds=40)
            new_end = str(int((NOW + timedelta(days=90)).timestamp()))
            wait_until(
                lambda: [each["value"][1] for each in query(scraper, ends)] == [new_end],
                what="the renewed series alone",
                seconds=40,
            )
