"""What is stored in a cluster and what is served: real kube-apiserver, real nginx, the real daemon."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certwatch.plugins.testing import Issued, make_certificate
from tests.support.daemon import certwatch, reading
from tests.support.kubernetes import APIServer
from tests.support.kubernetes_collector import TLS, tls
from tests.support.nginx import NginxServer, nginx, presented

pytestmark = [pytest.mark.integration, pytest.mark.kubernetes, pytest.mark.timeout(180)]

NOW = datetime.now(UTC).replace(microsecond=0)
HOST = "shop.example.com"
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/{}/ingresses"


def issued(*, left: int, key_number: int) -> Issued:
    return make_certificate(
        names=[f"dns:{HOST}"],
        not_before=NOW - timedelta(days=90 - left),
        not_after=NOW + timedelta(days=left),
        key_number=key_number,
    )


def ingress(name: str = "shop", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, **metadata},
        "spec": {
            "tls": [{"hosts": [HOST], "secretName": "shop-tls"}],
            "rules": [{"host": HOST}],
        },
    }


def test_a_certificate_that_is_renewed_in_the_secret_and_old_at_the_endpoint_is_found(
    server: APIServer, namespace: str, tmp_path: Path
) -> None:
    old, renewed = issued(left=20, key_number=31), issued(left=89, key_number=32)
    server.secret(namespace, "shop-tls", tls(old), type=TLS, labels={"team": "shop"})
    with nginx(tmp_path, [NginxServer(chain_pem=old.chain_pem, key_pem=old.key_pem)]) as web:
        # Where the world reaches a cluster is 443; here it is a free port of loopback, and the object says so.
        annotations = {"certwatch.io/targets": f"tls://127.0.0.1:{web.port}/?sni={HOST}"}
        server.create(INGRESSES.format(namespace), ingress(annotations=annotations))
        collectors = (
            f"\n  - {{name: prod, kind: kubernetes, every: 1h, kubeconfig: {server.kubeconfig()},"
            f" namespaces: [{namespace}], sources: [secrets, ingresses]}}"
            "\n  - {name: served, kind: tls, every: 1s, targets_from: [prod]}"
        )
        endpoint = f"tls://127.0.0.1:{web.port}/?sni={HOST}"
        with certwatch(
            tmp_path, collectors, "rules: {renewed-not-served: {grace: 0s}}\n", trust="{}"
        ) as daemon:

            def leaf() -> bytes | None:
                with reading(daemon.inventory) as reader:
                    served = reader.served(endpoint)  # type: ignore[arg-type]
                return served.leaf.der if served is not None and served.leaf is not None else None

            def open_findings() -> list[str]:
                with reading(daemon.inventory) as reader:
                    return [
                        each.location for each in reader.open_findings() if each.rule == "renewed-not-served"
                    ]

            daemon.wait(lambda: leaf() == old.der, what="the endpoint that the Ingress names")
            assert open_findings() == []
            server.replace_secret(namespace, "shop-tls", tls(renewed), type=TLS)
            daemon.wait(lambda: open_findings() == [endpoint], what="renewed, and not served")
            told = json.loads(daemon.command("findings", "--rule", "renewed-not-served", "--json").stdout)
            assert f"k8s://prod/{namespace}/secret/shop-tls?key=tls.crt" in told["findings"][0]["text"]
            web.swap(0, renewed.chain_pem, renewed.key_pem)
            assert presented(web.port, name=HOST) == renewed.der
            daemon.wait(lambda: open_findings() == [], what="the all-clear")
            # An Ingress that is gone leaves no endpoint behind.
            server.delete(f"{INGRESSES.format(namespace)}/shop")

            def retired() -> bool:
                with reading(daemon.inventory) as reader:
                    served = reader.served(endpoint)  # type: ignore[arg-type]
                return served is not None and served.retired_at is not None

            daemon.wait(retired, what="retired with its Ingress")


def test_the_api_server_itself_is_looked_at_and_what_cannot_be_reached_is_no_location(
    server: APIServer, namespace: str, tmp_path: Path
) -> None:
    server.create(INGRESSES.format(namespace), ingress())
    server.create(
        f"/api/v1/namespaces/{namespace}/services",
        {"metadata": {"name": "api"}, "spec": {"ports": [{"name": "https", "port": 443}]}},
    )
    collectors = (
        f"\n  - {{name: prod, kind: kubernetes, every: 1h, kubeconfig: {server.kubeconfig()},"
        f" namespaces: [{namespace}], sources: [ingresses, services, control-plane]}}"
        "\n  - {name: served, kind: tls, every: 1s, targets_from: [prod], timeout: 2}"
    )
    with certwatch(tmp_path, collectors) as daemon:

        def endpoints() -> list[str]:
            with reading(daemon.inventory) as reader:
                return [each.location.uri for each in reader.live() if each.location.kind == "tls"]

        daemon.wait(
            lambda: endpoints() == [f"tls://127.0.0.1:{server.port}/"], what="the API server's certificate"
        )
        scans = daemon.metric("certwatch_scans_total", collector="served", status="complete") or 0
        daemon.wait(
            lambda: (
                (daemon.metric("certwatch_scans_total", collector="served", status="complete") or 0) > scans
            ),
            what="another complete scan",
        )
        assert endpoints() == [f"tls://127.0.0.1:{server.port}/"]
        failed = [
            value
            for labels, value in daemon.series("certwatch_observations_total", collector="served")
            if labels["outcome"] != "ok"
        ]
        assert sum(failed) == 0, "what is not there is no failed handshake"
