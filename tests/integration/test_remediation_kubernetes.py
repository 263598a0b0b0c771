"""Certificates in Secrets of a real kube-apiserver, renewed by the daemon; and what must not be written there."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from certwatch.model.clock import system_clock
from certwatch.plugins.deployer import DeployerContext, DeployFailed, Target
from certwatch.plugins.testing import make_ca, make_certificate
from certwatch.remediation.deployers.kubernetes import KubernetesConfig, KubernetesDeployer
from certwatch.remediation.material import split_pem
from certwatch.x509.der import read
from tests.support.daemon import certwatch
from tests.support.kubernetes import APIServer
from tests.support.kubernetes_collector import TLS, tls
from tests.support.remediation import Renewing, dying, found_ca, material, rest_of_config
from tests.support.remediation import target as target_at

pytestmark = [
    pytest.mark.integration,
    pytest.mark.kubernetes,
    pytest.mark.anyio,
    pytest.mark.timeout(120),
]

CA = make_ca("Cluster CA", issuer=make_ca("Cluster Root", key_number=510), key_number=511)
FORMER = make_certificate(issuer=CA, key_number=512)
NEW = make_certificate(issuer=CA, key_number=513)
NEWER = make_certificate(issuer=CA, key_number=514)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def target(namespace: str, name: str = "web") -> Target:
    return target_at(f"k8s://prod/{namespace}/secret/{name}?key=tls.crt", FORMER)


def deployer(server: APIServer, **more: Any) -> KubernetesDeployer:
    config = KubernetesConfig(kubeconfig=str(server.kubeconfig()), **more)
    return KubernetesDeployer(config, DeployerContext(clock=system_clock))


def got(server: APIServer, namespace: str, name: str = "web") -> Any:
    return server.ask("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")


def names(server: APIServer, namespace: str) -> set[str]:
    items = server.ask("GET", f"/api/v1/namespaces/{namespace}/secrets")["items"]
    return {each["metadata"]["name"] for each in items}


def test_a_secret_holds_the_new_certificate_and_the_finding_resolves(
    tmp_path: Path, server: APIServer, namespace: str
) -> None:
    former = dying("shop.example.com", number=515)
    server.secret(namespace, "shop", {**tls(former), "note": b"kept"}, type=TLS, labels={"team": "pay"})
    kubeconfig = server.kubeconfig()
    collectors = f"""
  - {{name: prod, kind: kubernetes, kubeconfig: {kubeconfig}, namespaces: [{namespace}], sources: [secrets]}}"""
    policy = f"""issuer: {{kind: embedded, profile: server}}
      deploy: [{{kind: kubernetes, kubeconfig: {kubeconfig}, namespaces: [{namespace}]}}]
      approve: automatic"""
    more = rest_of_config(tmp_path, policy)
    found_ca(tmp_path, more)
    with certwatch(tmp_path, collectors, more) as daemon:
        it = Renewing(daemon=daemon)
        it.verified()
        [plan] = it.plans()
    secret = got(server, namespace, "shop")
    chain = split_pem(base64.b64decode(secret["data"]["tls.crt"]))
    assert read(chain[0]).fingerprint_sha256.hex() == plan["steps"][0]["said"]
    assert len(chain) == 2
    assert [str(each) for each in read(chain[0]).names] == ["dns:shop.example.com"]
    # What else is there stays, and nothing of the roll-out lies about.
    assert base64.b64decode(secret["data"]["note"]) == b"kept"
    assert (secret["type"], secret["metadata"]["labels"]) == (TLS, {"team": "pay"})
    assert names(server, namespace) == {"shop"}


async def test_the_former_one_is_kept_beside_and_put_back(server: APIServer, namespace: str) -> None:
    server.secret(namespace, "web", {**tls(FORMER), "ca.crt": CA.pem}, type=TLS, labels={"team": "pay"})
    it, place = deployer(server), target(namespace)
    before = got(server, namespace)
    assert it.takes(place)
    await it.deploy(place, material(NEW))
    assert await it.present(place) == (NEW.der, CA.der)
    # Once more, as after a crash, with a newer one: what is kept is still the first.
    await it.deploy(place, material(NEWER))
    assert await it.present(place) == (NEWER.der, CA.der)
    assert names(server, namespace) == {"web", "web-certwatch-former"}
    await it.undo(place)
    after = got(server, namespace)
    assert (after["data"], after["metadata"]["labels"]) == (before["data"], before["metadata"]["labels"])
    await it.forget(place)
    await it.forget(place)
    assert names(server, namespace) == {"web"}


async def test_what_cert_manager_keeps_is_left_to_it(server: APIServer, namespace: str) -> None:
    annotations = {"cert-manager.io/certificate-name": "web"}
    server.secret(namespace, "web", tls(FORMER), type=TLS, annotations=annotations)
    with pytest.raises(DeployFailed, match=r"kept by cert-manager.*Have that renew it"):
        await deployer(server).deploy(target(namespace), material(NEW))
    assert await deployer(server).present(target(namespace)) == (FORMER.der, CA.der)
    assert names(server, namespace) == {"web"}


async def test_what_a_controller_wrote_is_left_to_it(server: APIServer, namespace: str) -> None:
    server.create(
        f"/api/v1/namespaces/{namespace}/secrets?fieldManager=external-secrets",
        {
            "metadata": {"name": "web"},
            "type": TLS,
            "data": {name: base64.b64encode(value).decode() for name, value in tls(FORMER).items()},
        },
    )
    with pytest.raises(DeployFailed, match="kept by external-secrets"):
        await deployer(server).deploy(target(namespace), material(NEW))


async def test_what_somebody_else_changed_stays_as_they_made_it(server: APIServer, namespace: str) -> None:
    server.secret(namespace, "web", tls(NEWER), type=TLS)
    it, place = deployer(server), target(namespace)
    with pytest.raises(DeployFailed, match="another certificate"):
        await it.deploy(place, material(NEW))
    # Also in the middle of a roll-out.
    await asyncio.to_thread(server.replace_secret, namespace, "web", tls(FORMER), type=TLS)
    await it.deploy(place, material(NEW))
    await asyncio.to_thread(server.replace_secret, namespace, "web", tls(NEWER), type=TLS)
    for act in (it.undo(place), it.deploy(place, material(NEW))):
        with pytest.raises(DeployFailed, match="somebody else has changed it"):
            await act
    assert await it.present(place) == (NEWER.der, CA.der)


async def test_a_write_that_comes_between_is_not_overwritten(
    server: APIServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading and writing somebody else wrote: the API server knows by the resourceVersion."""
    server.secret(namespace, "web", tls(FORMER), type=TLS)
    it, place = deployer(server), target(namespace)
    from certwatch.doors.kubernetes import Client

    applied = Client.apply

    async def late(client: Client, path: str, body: bytes, **more: Any) -> bytes:
        await asyncio.to_thread(server.replace_secret, namespace, "web", tls(NEWER), type=TLS)
        return await applied(client, path, body, **more)

    monkeypatch.setattr(Client, "apply", late)
    with pytest.raises(DeployFailed) as failed:
        await it.deploy(place, material(NEW))
    assert failed.value.kind == "changed"
    assert await it.present(place) == (NEWER.der, CA.der)


async def test_a_right_that_is_missing_is_named(server: APIServer, namespace: str) -> None:
    server.secret(namespace, "web", tls(FORMER), type=TLS)
    config = KubernetesConfig(kubeconfig=str(server.kubeconfig("prod", token="nobody-token")))
    with pytest.raises(DeployFailed, match="Grant get, create, patch and delete on secrets") as failed:
        await KubernetesDeployer(config, DeployerContext(clock=system_clock)).deploy(
            target(namespace), material(NEW)
        )
    assert failed.value.kind == "permission"


async def test_what_an_earlier_roll_out_left_is_not_taken_for_the_former_one(
    server: APIServer, namespace: str
) -> None:
    server.secret(namespace, "web", tls(FORMER), type=TLS)
    server.secret(namespace, "web-certwatch-former", tls(NEWER))
    it, place = deployer(server), target(namespace)
    await it.deploy(place, material(NEW))
    await it.undo(place)
    assert await it.present(place) == (FORMER.der, CA.der)


@pytest.mark.parametrize(
    ("uri", "taken"),
    [
        ("k8s://prod/pay/secret/web?key=tls.crt", True),
        ("k8s://prod/pay/secret/web?key=site.pem", True),
        ("k8s://prod/pay/secret/web?key=keystore.jks", False),
        ("k8s://prod/pay/configmap/web?key=tls.crt", False),
        ("k8s://prod/other/secret/web?key=tls.crt", False),
        ("k8s://test/pay/secret/web?key=tls.crt", False),
        ("file:///etc/ssl/web.pem", False),
    ],
)
def test_only_secrets_of_its_namespaces_are_taken(uri: str, taken: bool) -> None:
    it = KubernetesDeployer(
        KubernetesConfig(cluster="prod", namespaces=("pay",)), DeployerContext(clock=system_clock)
    )
    assert it.takes(target_at(uri, FORMER)) is taken
