"""The daemon follows Prometheus' target lists: what is new is looked at, what is gone is retired, between two scans."""

import json
from pathlib import Path

import pytest

from certwatch.plugins.testing import make_certificate
from tests.support.daemon import certwatch
from tests.support.nginx import NginxServer, nginx

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def test_a_changed_list_is_in_the_inventory_before_the_next_scan(tmp_path: Path) -> None:
    first, second = make_certificate(serial_number=1), make_certificate(serial_number=2, key_number=2)
    servers = [NginxServer(chain_pem=each.chain_pem, key_pem=each.key_pem) for each in (first, second)]
    targets = tmp_path / "lists" / "edge.json"
    targets.parent.mkdir()
    with nginx(tmp_path, servers) as web:

        def name(*ports: int) -> None:
            groups = [{"targets": [f"127.0.0.1:{each}" for each in ports], "labels": {"environment": "prod"}}]
            targets.write_text(json.dumps(groups))

        name(web.ports[0])
        collectors = f"\n  - {{name: edge, kind: tls, every: 30d, file_sd: ['{targets}']}}\n"
        with certwatch(tmp_path, collectors) as daemon:

            def places() -> set[str]:
                up = daemon.series("certwatch_location_up", environment="prod", collector="edge")
                return {labels["location"] for labels, value in up if value == 1}

            one, two = (f"tls://127.0.0.1:{port}/" for port in web.ports)
            daemon.wait(lambda: places() == {one}, "the first scan")
            assert daemon.metric("certwatch_targets", source="file_sd") == 1

            def changed() -> bool:
                # Written until it is heard: the watch begins a moment after the scan.
                name(web.ports[1])
                return places() == {two}

            daemon.wait(changed, "the changed list")
            assert {labels["serial_number"] for labels, _ in daemon.series("certwatch_certificate_info")} == {
                "02"
            }
