"""Metrics by other exporters' names."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from certwatch.model.location import LocationURI, file_location, tls_location, url_location
from certwatch.model.observation import LookError, Scan, ScanID
from certwatch.model.sighting import Served
from certwatch.plugins.testing import EPOCH, make_certificate
from certwatch.telemetry.metrics import OBSERVATIONS
from exporters.prometheus import go_names
from exporters.prometheus.compatible.place import place
from exporters.prometheus.compatible.ssl import SSLMetrics
from exporters.prometheus.compatible.x509 import X509Metrics
from tests.support.serving import INTERMEDIATE, served

LEAF = make_certificate(
    issuer=INTERMEDIATE, names=["dns:www.example.com", "ip:192.0.2.1"], serial_number=0x1F
)
FILE = served((LEAF, INTERMEDIATE), uri=file_location("/etc/ssl/site.pem"), id=7)
NOW = EPOCH.timestamp()
END = int((EPOCH + timedelta(days=60)).timestamp())

Samples = dict[str, list[tuple[dict[str, str], float]]]


def samples(metrics: X509Metrics | SSLMetrics, now: float = NOW) -> Samples:
    text = b"".join(each.text for each in metrics.pieces(now, openmetrics=False)).decode()
    found: Samples = {}
    for family in parse(text):
        for each in family.samples:
            found.setdefault(each.name, []).append((dict(each.labels), each.value))
    strict = b"".join(each.text for each in metrics.pieces(now, openmetrics=True)).decode() + "# EOF\n"
    assert list(parse_openmetrics(strict))  # type: ignore[no-untyped-call]
    return found


def x509(*places: Served, now: float = NOW) -> X509Metrics:
    metrics = X509Metrics()
    for each in places:
        metrics.put(each, now)
    return metrics


def test_a_certificate_in_a_file_has_its_labels_as_there() -> None:
    found = samples(x509(FILE))
    leaf, issuer = found["x509_cert_not_after"]
    assert leaf[0] == {
        "serial_number": "31",
        "subject_CN": "www.example.com",
        "issuer_CN": "Test Intermediate",
        "filename": "site.pem",
        "filepath": "/etc/ssl/site.pem",
    }
    assert leaf[1] == END
    assert issuer[0]["subject_CN"] == "Test Intermediate"
    assert [value for _, value in found["x509_cert_expired"]] == [0, 0]
    assert len(found["x509_cert_not_before"]) == 2
    source = {"source_kind": "file", "source_name": "edge"}
    assert found["x509_source_bundles"] == [(source, 1)]
    # Every reason stands at 0, so that a first error is an increase.
    assert (source | {"reason": "bad_pem"}, 0) in found["x509_source_errors_total"]


def test_what_expires_is_told_when_it_does() -> None:
    metrics = x509(FILE)
    assert [
        value
        for labels, value in samples(metrics, END)["x509_cert_expired"]
        if labels["serial_number"] == "31"
    ] == [0]
    assert [
        value
        for labels, value in samples(metrics, END + 1)["x509_cert_expired"]
        if labels["serial_number"] == "31"
    ] == [1]
    # And what has expired already, from the beginning.
    assert samples(x509(FILE, now=END + 5.0), END + 5)["x509_cert_expired"][0][1] == 1


def test_what_has_the_same_labels_is_told_apart_and_alone_again() -> None:
    # Another entry of the same keystore: there are no labels for it.
    twin = served((LEAF, INTERMEDIATE), uri=file_location("/etc/ssl/site.pem", "alias"), id=8)
    metrics = x509(FILE, twin)
    both = samples(metrics)["x509_cert_not_after"]
    assert len(both) == 4
    assert len({tuple(sorted(labels.items())) for labels, _ in both}) == 4
    assert all(len(labels["discriminator"]) == 8 for labels, _ in both)
    metrics.put(replace(twin, retired_at=EPOCH), NOW)
    assert all("discriminator" not in labels for labels, _ in samples(metrics)["x509_cert_not_after"])
    metrics.put(replace(FILE, retired_at=EPOCH), NOW)
    assert "x509_cert_not_after" not in samples_or_none(metrics)


def samples_or_none(metrics: X509Metrics) -> Samples:
    text = b"".join(each.text for each in metrics.pieces(NOW, openmetrics=False)).decode()
    return {each.name: [] for family in parse(text) for each in family.samples}


@pytest.mark.parametrize(
    ("uri", "labels"),
    [
        (
            file_location("/root/.kube/config", "user/admin"),
            {
                "filename": "config",
                "filepath": "/root/.kube/config",
                "embedded_kind": "user",
                "embedded_key": "admin",
            },
        ),
        (
            "k8s://prod/payments/secret/web-tls?key=tls.crt",
            {"secret_namespace": "payments", "secret_name": "web-tls", "secret_key": "tls.crt"},
        ),
        (
            "k8s://prod/payments/configmap/ca?key=ca.crt",
            {"configmap_namespace": "payments", "configmap_name": "ca", "configmap_key": "ca.crt"},
        ),
        (
            "k8s://prod/-/validatingwebhookconfiguration/policy?key=check.example.com",
            {
                "cabundle_resource_kind": "ValidatingWebhookConfiguration",
                "cabundle_resource_name": "policy",
                "cabundle_entry": "check.example.com",
            },
        ),
    ],
)
def test_every_kind_of_place_has_its_own_labels(uri: str, labels: dict[str, str]) -> None:
    found = samples(x509(served((LEAF,), uri=LocationURI(uri))))
    mine = found["x509_cert_not_after"][0][0]
    assert {
        name: value for name, value in mine.items() if not name.startswith(("serial", "subject", "issuer"))
    } == labels


@pytest.mark.parametrize(
    "uri",
    [
        "tls://192.0.2.1:443/",
        "url:https://a.example/b.pem",
        "k8s://prod/x/ingress/web?host=a",
        "k8s://prod",
        "cadb://x/1",
        "k8s://a/b/secret/c/d",
    ],
)
def test_other_places_have_no_series_there(uri: str) -> None:
    metrics = x509(served((LEAF,), uri=LocationURI(uri)))
    assert samples_or_none(metrics) == {}


@given(st.text(max_size=60))
def test_no_location_breaks_it(text: str) -> None:
    for scheme in ("file://", "k8s://", "tls://", ""):
        place(LocationURI(scheme + text))


def test_a_crl_is_told_with_its_issuer_and_when_it_is_stale() -> None:
    facts: dict[str, Any] = {
        "crl_kind": "full", "crl_issuer": r"CN=Corp\, CA,OU=a+OU=b,O=Corp", "crl_number": "12",
        "crl_this_update": "2026-11-01T12:00:00Z", "crl_next_update": "2026-11-02T12:00:00Z",
    }  # fmt: skip
    metrics = x509(served((), uri=file_location("/srv/ca.crl"), facts=facts))
    found = samples(metrics)
    labels = {
        "issuer_CN": "Corp, CA", "issuer_OU": "a", "issuer_O": "Corp", "crl_number": "12",
        "filename": "ca.crl", "filepath": "/srv/ca.crl",
    }  # fmt: skip
    assert found["x509_crl_number"] == [(labels, 12)]
    assert found["x509_crl_next_update"] == [(labels, NOW + 86400)]
    assert found["x509_crl_this_update"] == [(labels, NOW)]
    assert found["x509_crl_stale"] == [(labels, 0)]
    assert samples(metrics, NOW + 86401)["x509_crl_stale"] == [(labels, 1)]


def scan(status: Any) -> Scan:
    return Scan(
        id=ScanID(1), collector="edge", started_at=EPOCH, finished_at=EPOCH, status=status, error=None, observations=1, errors=0
    )  # fmt: skip


def test_sources_are_collectors() -> None:
    metrics = x509(FILE)
    metrics.scanned(scan("failed"))
    OBSERVATIONS.labels("compatible", "file", "malformed").inc(3)
    OBSERVATIONS.labels("compatible", "file", "passphrase").inc(2)
    OBSERVATIONS.labels("compatible", "tls", "timeout").inc(2)
    found = samples(metrics)
    source = {"source_kind": "file", "source_name": "compatible"}
    assert found["x509_source_up"] == [({"source_kind": "file", "source_name": "edge"}, 0)]
    mine = [each for each in found["x509_source_errors_total"] if each[0]["source_name"] == "compatible"]
    assert mine == [(source | {"reason": "bad_passphrase"}, 2), (source | {"reason": "bad_pem"}, 3)]
    assert (source, 2) in found["x509_pkcs12_passphrase_failures_total"]
    metrics.scanned(scan("complete"))
    assert samples(metrics)["x509_source_up"][0][1] == 1
    metrics.forget("edge")
    assert "x509_source_up" not in samples(metrics)


def test_what_cannot_be_read_is_an_error_of_its_own() -> None:
    broken = replace(FILE, error=LookError(kind="malformed", message="cut off"))
    found = samples(x509(broken))
    assert found["x509_cert_error"] == [({"filename": "site.pem", "filepath": "/etc/ssl/site.pem"}, 1)]
    assert len(found["x509_cert_not_after"]) == 2


# -- ssl_exporter's


def ssl(*places: Served) -> Samples:
    metrics = SSLMetrics()
    for each in places:
        metrics.put(each, NOW)
    return samples(metrics)


def test_an_endpoint_is_an_instance() -> None:
    uri = tls_location("192.0.2.1", 443, server_name="www.example.com")
    found = ssl(served((LEAF, LEAF, INTERMEDIATE), uri=uri, facts={"tls_version": "TLSv1.3"}))
    leaf = next(each for each in found["ssl_cert_not_after"] if each[0]["cn"] == "www.example.com")
    assert leaf[0] == {
        "instance": "www.example.com:443",
        "serial_no": "31",
        "issuer_cn": "Test Intermediate",
        "cn": "www.example.com",
        "dnsnames": ",www.example.com,",
        "ips": ",192.0.2.1,",
        "location": uri,
    }
    assert leaf[1] == END
    assert len(found["ssl_cert_not_after"]) == 2
    assert found["ssl_probe_success"] == [({"instance": "www.example.com:443", "location": uri}, 1)]
    assert found["ssl_tls_version_info"][0][0]["version"] == "TLS 1.3"


def test_a_failed_look_is_no_success_and_keeps_the_end() -> None:
    failing = replace(served((LEAF,)), error=LookError(kind="timeout", message="x"))
    found = ssl(failing)
    assert found["ssl_probe_success"][0][1] == 0
    assert found["ssl_cert_not_after"][0][1] == END


@pytest.mark.parametrize(
    ("uri", "family", "labels"),
    [
        (file_location("/a/b.pem"), "ssl_file_cert_not_after", {"file": "/a/b.pem"}),
        (
            url_location("https://a.example/b.pem?x=1"),
            "ssl_cert_not_after",
            {"instance": "https://a.example/b.pem?x=1"},
        ),
        (
            file_location("/a/config", "cluster/prod"),
            "ssl_kubeconfig_cert_not_after",
            {"kubeconfig": "/a/config", "name": "prod", "type": "cluster"},
        ),
        (
            "k8s://c/n/secret/s?key=k",
            "ssl_kubernetes_cert_not_after",
            {"namespace": "n", "secret": "s", "key": "k"},
        ),
    ],
)
def test_what_is_stored_has_its_own_families(uri: str, family: str, labels: dict[str, str]) -> None:
    ((mine, value),) = ssl(served((LEAF,), uri=LocationURI(uri)))[family]
    assert labels.items() <= mine.items()
    assert value == END


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", {}),
        ("CN=a", {"CN": ("a",)}),
        (r"CN=a\,b\+c,O=d", {"CN": ("a,b+c",), "O": ("d",)}),
        (r"CN=\C3\A4,OU=x+OU=y", {"CN": ("ä",), "OU": ("x", "y")}),
        ("nonsense", {}),
    ],
)
def test_names_are_taken_apart(text: str, fields: dict[str, Sequence[str]]) -> None:
    assert go_names.parsed(text) == fields


@given(st.text())
def test_no_name_breaks_it(text: str) -> None:
    go_names.parsed(text)
