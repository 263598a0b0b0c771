"""Secrets that cert-manager keeps, on a real kube-apiserver with its CRD. cert-manager itself is played: it does with the
condition Issuing what its own controllers do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from certwatch.model.clock import system_clock
from certwatch.plugins.deployer import DeployerContext, DeployFailed, Renews, Target
from certwatch.plugins.testing import make_ca, make_certificate
from certwatch.remediation.deployers.cert_manager import CertManagerConfig, CertManagerDeployer
from tests.support.daemon import certwatch
from tests.support.kubernetes import APIServer
from tests.support.kubernetes_collector import TLS, tls
from tests.support.kubernetes_crds import create
from tests.support.remediation import Renewing, dying, found_ca, material, rest_of_config
from tests.support.remediation import target as target_at

pytestmark = [
    pytest.mark.integration,
    pytest.mark.kubernetes,
    pytest.mark.anyio,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("extensions"),
]
CA = make_ca("cert-manager CA", key_number=560)
FORMER = make_certificate(issuer=CA, key_number=561)
NEW = make_certificate(issuer=CA, key_number=562)
WITHIN = timedelta(seconds=30)
NAME = "web-certificate"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def kept(server: APIServer, namespace: str, former: Any) -> str:
    """A Secret with a Certificate that looks after it: the Certificate's path."""
    server.secret(
        namespace, "web", tls(former), type=TLS, annotations={"cert-manager.io/certificate-name": NAME}
    )
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Ready",
        "lastTransitionTime": "2026-11-01T00:00:00Z",
    }
    return create(
        server,
        "certificates",
        NAME,
        namespace,
        spec={"secretName": "web", "dnsNames": ["www.example.com"], "issuerRef": {"name": "ca"}},
        status={"conditions": [ready]},
    )


@contextmanager
def cert_manager(
    server: APIServer, namespace: str, path: str, new: Any | None
) -> Iterator[list[dict[str, Any]]]:
    """Its part: where the condition Issuing is set, it has `new` issued, or fails. What it was told, in order."""
    told: list[dict[str, Any]] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.1):
            conditions = server.ask("GET", path)["status"]["conditions"]
            issuing = next(
                (each for each in conditions if each["type"] == "Issuing" and each["status"] == "True"), None
            )
            if issuing is None:
                continue
            told.append(issuing)
            rest = [each for each in conditions if each["type"] != "Issuing"]
            if new is None:
                failed = {**issuing, "status": "False", "reason": "Failed", "message": "the issuer refuses"}
                server.status(path, {"conditions": [*rest, failed], "failedIssuanceAttempts": len(told)})
                continue
            annotations = {"cert-manager.io/certificate-name": NAME}
            server.replace_secret(namespace, "web", tls(new), type=TLS, annotations=annotations)
            server.status(path, {"conditions": rest, "revision": len(told)})

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        stop.set()
        thread.join(30)


def deployer(server: APIServer, **more: Any) -> CertManagerDeployer:
    config = CertManagerConfig(kubeconfig=str(server.kubeconfig()), **more)
    return CertManagerDeployer(config, DeployerContext(clock=system_clock))


def place(namespace: str) -> Target:
    return target_at(f"k8s://prod/{namespace}/secret/web?key=tls.crt", FORMER)


async def test_it_is_told_as_cmctl_tells_it_and_renews_once(server: APIServer, namespace: str) -> None:
    path = kept(server, namespace, FORMER)
    it = deployer(server)
    assert isinstance(it, Renews)
    with cert_manager(server, namespace, path, NEW) as told:
        assert (await it.renew(place(namespace), WITHIN))[0] == NEW.der
        # After a crash: it is renewed already.
        assert (await it.renew(place(namespace), WITHIN))[0] == NEW.der
    [issuing] = told
    assert (issuing["reason"], issuing["observedGeneration"]) == ("ManuallyTriggered", 1)
    with pytest.raises(DeployFailed, match="cannot be put back"):
        await it.undo(place(namespace))


async def test_one_that_fails_says_what_cert_manager_said(server: APIServer, namespace: str) -> None:
    path = kept(server, namespace, FORMER)
    it = deployer(server)
    with cert_manager(server, namespace, path, None):
        with pytest.raises(DeployFailed, match="cert-manager: the issuer refuses"):
            await it.renew(place(namespace), WITHIN)
    # Nothing was changed: nothing is to be put back.
    await it.undo(place(namespace))


async def test_where_nobody_renews_it_is_given_up_in_time(server: APIServer, namespace: str) -> None:
    kept(server, namespace, FORMER)
    it = deployer(server)
    with pytest.raises(DeployFailed, match=f"has not renewed {NAME} within 1 s"):
        await it.renew(place(namespace), timedelta(seconds=1))


async def test_what_it_does_not_keep_is_left_alone(server: APIServer, namespace: str) -> None:
    server.secret(namespace, "web", tls(FORMER), type=TLS)
    with pytest.raises(DeployFailed, match="cert-manager does not keep it"):
        await deployer(server).renew(place(namespace), WITHIN)
    with pytest.raises(DeployFailed, match="would put its own back"):
        await deployer(server).deploy(place(namespace), material(NEW))


@pytest.mark.parametrize(("secrets", "taken"), [((), True), (("web*",), True), (("shop-*",), False)])
def test_only_secrets_of_its_names_are_taken(secrets: tuple[str, ...], taken: bool) -> None:
    config = CertManagerConfig(namespaces=("pay",), secrets=secrets)
    it = CertManagerDeployer(config, DeployerContext(clock=system_clock))
    assert it.takes(place("pay")) is taken
    assert not it.takes(place("other"))


def test_the_daemon_has_it_renewed_and_the_finding_resolves(
    tmp_path: Any, server: APIServer, namespace: str
) -> None:
    former = dying("www.example.com", number=563)
    path = kept(server, namespace, former)
    kubeconfig = server.kubeconfig()
    collectors = f"""
  - {{name: prod, kind: kubernetes, kubeconfig: {kubeconfig}, namespaces: [{namespace}], sources: [secrets]}}"""
    policy = f"""issuer: {{kind: embedded, profile: server}}
      deploy: [{{kind: cert-manager, kubeconfig: {kubeconfig}, namespaces: [{namespace}]}}]
      approve: automatic"""
    more = rest_of_config(tmp_path, policy)
    found_ca(tmp_path, more)
    new = dying("www.example.com", hours=24 * 90, number=564)
    with cert_manager(server, namespace, path, new) as told, certwatch(tmp_path, collectors, more) as daemon:
        it = Renewing(daemon=daemon)
        it.verified()
        [plan] = it.plans()
    assert len(told) == 1
    assert [each["kind"] for each in plan["steps"]] == ["deploy", "verify"]
