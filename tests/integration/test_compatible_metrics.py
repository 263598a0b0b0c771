"""What alerts and dashboards made for x509-certificate-exporter and ssl_exporter find, through a real Prometheus.

Those two are no Debian packages: their shipped queries stand here as facts, and what they must find follows from the files.
"""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.plugins.testing import EPOCH, make_ca, make_certificate
from tests.support.daemon import COMMAND
from tests.support.nginx import NginxServer, nginx
from tests.support.prometheus import query
from tests.support.servers import accepts, free_port, program, running, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

NOW = datetime.now(UTC)
ROOT = make_ca("Root", not_after=NOW + timedelta(days=3000))
GOOD = make_certificate(issuer=ROOT, names=["dns:good.example.com"], not_after=NOW + timedelta(days=200))
SOON = make_certificate(issuer=ROOT, names=["dns:soon.example.com"], not_after=NOW + timedelta(days=20))
NEAR = make_certificate(issuer=ROOT, names=["dns:near.example.com"], not_after=NOW + timedelta(days=5))
PAST = make_certificate(issuer=ROOT, names=["dns:past.example.com"], not_after=EPOCH)
FUTURE = make_certificate(
    issuer=ROOT, names=["dns:future.example.com"],
    not_before=NOW + timedelta(days=10), not_after=NOW + timedelta(days=100),
)  # fmt: skip


def _crl(next_update: datetime, number: int) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ROOT.certificate.subject)
        .last_update(EPOCH - timedelta(days=1))
        .next_update(next_update)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    return builder.sign(cast("Any", ROOT.key), hashes.SHA256()).public_bytes(Encoding.DER)


def _kubeconfig() -> str:
    data = base64.b64encode(GOOD.pem).decode()
    return json.dumps(
        {"apiVersion": "v1", "kind": "Config", "clusters": [],
         "users": [{"name": "admin", "user": {"client-certificate-data": data}}]}
    )  # fmt: skip


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a Prometheus that scrapes a certwatch with both options."""
    folder = tmp_path_factory.mktemp("compatible")
    files = folder / "files"
    files.mkdir()
    for name, issued in (("good", GOOD), ("soon", SOON), ("near", NEAR), ("past", PAST), ("future", FUTURE)):
        (files / f"{name}.pem").write_bytes(issued.pem)
    (files / "broken.pem").write_bytes(GOOD.pem[:200])
    (files / "near.crl").write_bytes(_crl(NOW + timedelta(days=3), 7))
    (files / "stale.crl").write_bytes(_crl(EPOCH, 6))
    (files / "admin.kubeconfig").write_text(_kubeconfig())
    port, listening = free_port(), free_port()
    with nginx(folder, [NginxServer(chain_pem=NEAR.chain_pem, key_pem=NEAR.key_pem)]) as web:
        config = folder / "certwatch.yaml"
        config.write_text(
            f"inventory: sqlite://{folder}/inventory.db\ntrust: {{}}\ncollectors:\n"
            f"  - {{name: hosts, kind: file, every: 1h, paths: ['{files}']}}\n"
            f"  - {{name: edge, kind: tls, every: 1h, server_name: near.example.com, targets: ['127.0.0.1:{web.port}', '127.0.0.1:{free_port()}']}}\n"
            f"exporters: [{{kind: prometheus, listen: '127.0.0.1:{port}', x509_metrics: true, ssl_metrics: true}}]\n"
        )
        scrape = {
            "job_name": "certs",
            "scrape_interval": "1s",
            "honor_labels": True,
            "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": [scrape]}))
        command = [
            program("prometheus", "prometheus"),
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{listening}",
        ]
        base = f"http://127.0.0.1:{listening}"
        with (
            running([*COMMAND, "-c", config], ready=lambda: accepts(port), log=folder / "log", seconds=60),
            running(command, ready=lambda: accepts(listening), log=folder / "prometheus.log", seconds=40),
        ):
            wait_until(
                lambda: (
                    bool(query(base, 'x509_source_up{source_name="hosts"} == 1'))
                    and len(query(base, "ssl_probe_success")) == 2
                ),
                what="both scans in Prometheus",
                seconds=90,
            )
            yield base


def names(found: list[dict[str, dict[str, str]]], label: str) -> list[str]:
    return sorted(each["metric"].get(label, "") for each in found)


#: Alerts of x509-certificate-exporter's chart with their thresholds: what they find, by a label.
ALERTS = [
    ("(x509_cert_not_after - time()) < (28 * 86400) and (x509_cert_not_after - time()) > 0", "filename", ["near.pem", "soon.pem"]),
    ("(x509_cert_not_after - time()) < (14 * 86400)", "filename", ["near.pem", "past.pem"]),
    ("(x509_cert_not_before - time()) > 0", "filename", ["future.pem"]),
    ("x509_cert_error > 0", "filename", ["broken.pem"]),
    ("x509_cert_expired == 1", "subject_CN", ["past.example.com"]),
    ("(x509_crl_next_update - time()) < (7 * 86400) and x509_crl_stale == 0", "filename", ["near.crl"]),
    ("x509_crl_stale > 0", "crl_number", ["6"]),
    ("x509_source_up == 0", "source_name", []),
    ("sum without (reason) (x509_source_errors_total) > 0", "source_name", ["hosts"]),
    ("x509_kube_watch_resyncs_total", "source_name", []),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "label", "found"), ALERTS)
def test_alerts_for_x509_certificate_exporter_find_what_they_are_for(
    url: str, expression: str, label: str, found: list[str]
) -> None:
    assert names(query(url, expression), label) == found


#: Panels of its dashboard, thresholds put in.
PANELS = [
    ("count(x509_cert_not_after)", 6),
    ("sum(((x509_cert_not_after - time()) / 86400) < bool 0)", 1),
    ("sum(0 < ((x509_cert_not_after - time()) / 86400) < bool 7)", 1),
    ('count(x509_cert_not_after{filepath!="",embedded_key!=""})', 1),
    ('count(x509_cert_not_after{filepath!="",embedded_key=""})', 5),
    ("count(x509_source_errors_total > 0)", 1),
    ('count(sort(((x509_cert_not_after{filepath!=""} - time()) / 86400) < 30))', 3),
    ("topk(10, sort_desc(count by (issuer_CN) (x509_cert_not_after)))", 6),
    ('count(topk(10, (x509_cert_not_after{filepath!=""} - x509_cert_not_before) / 86400))', 6),
]


@pytest.mark.parametrize(("expression", "value"), PANELS)
def test_its_dashboard_shows_what_there_is(url: str, expression: str, value: int) -> None:
    (found,) = query(url, expression)
    assert float(found["value"][1]) == value


def test_what_is_written_for_ssl_exporter_finds_endpoints(url: str) -> None:
    # Facts: its README's alerts and its dashboard's panels.
    assert names(query(url, "ssl_cert_not_after - time() < 86400 * 7"), "cn") == ["near.example.com"]
    assert len(query(url, "ssl_probe_success == 0")) == 1
    assert len(query(url, "count(ssl_cert_not_after) by (instance)")) == 1
    (found,) = query(
        url, 'count(max(ssl_cert_not_after{instance=~".*",job=~"certs"}) by (issuer_cn,serial_no))'
    )
    assert found["value"][1] == "1"
    assert names(query(url, "ssl_file_cert_not_after - time() < 86400 * 7"), "cn") == [
        "near.example.com",
        "past.example.com",
    ]
    assert names(query(url, "ssl_kubeconfig_cert_not_after"), "name") == ["admin"]
    instances = names(query(url, "ssl_probe_success"), "instance")
    assert all(each.startswith("near.example.com:") for each in instances)
