"""Findings as Events on their objects, in a real kube-apiserver."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, cast

import pytest

from certwatch.model.finding import Finding
from certwatch.model.location import LocationURI
from certwatch.plugins.exporter import ExporterContext, News
from certwatch.plugins.testing import FakeClock, make_certificate
from exporters.kubernetes_events import KubernetesEventsConfig, KubernetesEventsExporter
from tests.exporters.test_events import FINDING
from tests.support.kubernetes import TOKEN, APIServer
from tests.support.kubernetes_collector import TLS, tls
from tests.support.servers import until
from tests.support.serving import SILENCE

pytestmark = [pytest.mark.integration, pytest.mark.kubernetes, pytest.mark.anyio, pytest.mark.timeout(120)]

FIRST = make_certificate(key_number=41)


class View:
    def __init__(self, *findings: Finding) -> None:
        self.findings = findings

    def open_findings(self) -> tuple[Finding, ...]:
        return self.findings


@asynccontextmanager
async def telling(
    server: APIServer, *findings: Finding, token: str = TOKEN, **config: Any
) -> AsyncIterator[KubernetesEventsExporter]:
    settings = {"cluster": "prod", "kubeconfig": str(server.kubeconfig(token=token)), **config}
    context = ExporterContext(clock=FakeClock(), view=cast("Any", View(*findings)))
    exporter = KubernetesEventsExporter("it", KubernetesEventsConfig.model_validate(settings), context)
    await exporter.start()
    task = asyncio.create_task(exporter.run())
    try:
        yield exporter
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def about(namespace: str, path: str = "secret/web?key=tls.crt", **fields: Any) -> Finding:
    return replace(FINDING, location=LocationURI(f"k8s://prod/{namespace}/{path}"), **fields)


async def events(server: APIServer, namespace: str, uid: str) -> list[dict[str, Any]]:
    """As `kubectl describe` asks for them."""
    selector = f"fieldSelector=involvedObject.uid={uid},involvedObject.name=web"
    found = await asyncio.to_thread(server.ask, "GET", f"/api/v1/namespaces/{namespace}/events?{selector}")
    return list(found["items"])


async def until_told(server: APIServer, namespace: str, uid: str) -> list[dict[str, Any]]:
    async def told() -> bool:
        return bool(await events(server, namespace, uid))

    await until(told, what="an Event")
    return await events(server, namespace, uid)


async def test_a_finding_is_an_event_on_its_object(server: APIServer, namespace: str) -> None:
    uid = server.secret(namespace, "web", tls(FIRST), type=TLS)["metadata"]["uid"]
    elsewhere = replace(FINDING, location=LocationURI("file:///etc/web.pem"))
    other_cluster = replace(FINDING, location=LocationURI("k8s://other/pay/secret/web?key=tls.crt"))
    async with telling(server, about(namespace), elsewhere, other_cluster):
        (event,) = await until_told(server, namespace, uid)
    assert event["type"] == "Warning"
    assert event["reason"] == "Expiry"
    assert FINDING.summary in event["message"]
    assert event["involvedObject"]["kind"] == "Secret"
    assert event["source"] == {"component": "certwatch"}


async def test_however_often_it_is_told_it_is_one_event(server: APIServer, namespace: str) -> None:
    uid = server.secret(namespace, "web", tls(FIRST), type=TLS)["metadata"]["uid"]
    async with telling(server, about(namespace)):
        (before,) = await until_told(server, namespace, uid)
    async with telling(server) as exporter:
        await exporter.publish(News(opened=(about(namespace, summary="another summary"),)))

        async def altered() -> bool:
            return "another summary" in (await events(server, namespace, uid))[0]["message"]

        await until(altered, what="the other summary")
    (after,) = await events(server, namespace, uid)
    assert after["metadata"]["name"] == before["metadata"]["name"]


async def test_what_is_silenced_slight_or_about_nothing_is_not_told(
    server: APIServer, namespace: str
) -> None:
    uid = server.secret(namespace, "web", tls(FIRST), type=TLS)["metadata"]["uid"]
    quiet = about(namespace, silence=SILENCE)
    slight = replace(about(namespace), severity="info", id=cast("Any", 77))
    deleted = replace(about(namespace, "secret/deleted?key=tls.crt"), id=cast("Any", 78))
    told = replace(about(namespace), id=cast("Any", 79), rule="key-mismatch")
    async with telling(server, quiet, slight, deleted, told):
        await until_told(server, namespace, uid)
    (event,) = await events(server, namespace, uid)
    assert event["reason"] == "KeyMismatch"


async def test_a_missing_right_is_told_once_and_named(server: APIServer, namespace: str) -> None:
    server.secret(namespace, "web", tls(FIRST), type=TLS)
    async with telling(server, about(namespace), token="nobody-token") as exporter:

        async def said() -> bool:
            return bool(exporter._said)

        await until(said, what="the refusal")
        assert exporter._said.startswith("403 ")
        assert (
            f'cannot list resource "secrets" in API group "" in the namespace "{namespace}"' in exporter._said
        )


async def test_an_object_whose_name_is_no_dns_name_has_its_event_too(server: APIServer) -> None:
    uid = server.ask("GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1.")["metadata"]["uid"]
    asked = f"/api/v1/namespaces/default/events?fieldSelector=involvedObject.uid={uid}"

    async def told() -> bool:
        return bool((await asyncio.to_thread(server.ask, "GET", asked))["items"])

    async with telling(server, about("-", "apiservice/v1.?key=caBundle")):
        await until(told, what="an Event of the API service v1.")


async def test_an_object_without_namespace_is_told_of_in_default(server: APIServer, namespace: str) -> None:
    kind = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    made = server.create(kind, {"metadata": {"name": f"w-{namespace}"}, "webhooks": []})
    path = f"validatingwebhookconfiguration/w-{namespace}?key=a"
    asked = f"/api/v1/namespaces/default/events?fieldSelector=involvedObject.uid={made['metadata']['uid']}"

    async def told() -> bool:
        return bool((await asyncio.to_thread(server.ask, "GET", asked))["items"])

    async with telling(server, about("-", path)):
        await until(told, what="an Event in default")
