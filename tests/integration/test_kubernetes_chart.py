"""The chart, rendered by the real helm and given to a real kube-apiserver; its rights held to be enough and no more."""

import asyncio
import json
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from certwatch.config.load import read as read_config
from certwatch.model.observation import Incomplete
from certwatch.plugins.testing import collect
from collectors.kubernetes import KubernetesCollector
from collectors.kubernetes.config import SOURCES
from tests.support.kubernetes import APIServer, binary
from tests.support.kubernetes_proxy import proxied
from tools import kubernetes_manifests as manifests

pytestmark = [
    pytest.mark.integration,
    pytest.mark.kubernetes("kube-apiserver", "helm"),
    pytest.mark.timeout(180),
    pytest.mark.usefixtures("extensions"),
]

ROOT = Path(__file__).parent.parent.parent
EVERYTHING = (
    "nodes.enabled=true",
    "serviceMonitor.enabled=true",
    "prometheusRule.enabled=true",
    "dashboards.enabled=true",
    "events.enabled=true",
    "networkPolicy.from[0].namespaceSelector.matchLabels.name=monitoring",
    "imagePullSecrets[0].name=registry",
    "nodeSelector.disk=ssd",
    "podAnnotations.a=b",
    "web.existingSecret=web",
    "serviceMonitor.endpoint.scheme=https",
)

SEVERAL = ("replicas=3", "inventory.existingSecret=db")


def render(
    *settings: str, namespace: str = "certwatch", values: Any = None, folder: Path | None = None
) -> list[Any]:
    words = [word for each in settings for word in ("--set", each)]
    if values is not None and folder is not None:
        (folder / "values.yaml").write_text(yaml.safe_dump(values))
        words += ["-f", str(folder / "values.yaml")]
    text = manifests.rendered(*words, namespace=namespace, helm=binary("helm"))
    return [each for each in yaml.safe_load_all(text) if each]


PLURALS = {
    "ServiceAccount": "serviceaccounts",
    "ConfigMap": "configmaps",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Service": "services",
    "Deployment": "deployments",
    "DaemonSet": "daemonsets",
    "NetworkPolicy": "networkpolicies",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "ServiceMonitor": "servicemonitors",
    "PrometheusRule": "prometheusrules",
    "Namespace": "namespaces",
    "PodDisruptionBudget": "poddisruptionbudgets",
}


def apply(server: APIServer, document: Any, *, dry_run: bool) -> Any:
    """As `kubectl apply --server-side --validate=strict` does it."""
    version, meta = document["apiVersion"], document["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    within = f"/namespaces/{meta['namespace']}" if "namespace" in meta else ""
    path = f"{root}{within}/{PLURALS[document['kind']]}/{meta['name']}"
    query = "fieldManager=test&force=true&fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
    return server.ask("PATCH", f"{path}?{query}", document, kind="application/apply-patch+yaml")


def kinds(documents: list[Any]) -> set[str]:
    return {each["kind"] for each in documents}


@pytest.fixture(scope="module")
def home(server: APIServer) -> str:
    """A namespace in which pods must be restricted."""
    server.namespace("certwatch", labels={"pod-security.kubernetes.io/enforce": "restricted"})
    return "certwatch"


@pytest.mark.parametrize(
    "settings",
    [
        (),
        EVERYTHING,
        SEVERAL,
        ("persistence.enabled=false", "networkPolicy.enabled=false", "web.insecure=true"),
    ],
)
def test_every_document_is_taken_by_the_api_server(
    server: APIServer, home: str, settings: tuple[str, ...]
) -> None:
    documents = render(*settings)
    for each in documents:
        apply(server, each, dry_run=True)
    expected = {
        "ServiceAccount",
        "ConfigMap",
        "Service",
        "Deployment",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
    }
    assert kinds(documents) >= expected
    if settings is EVERYTHING:
        assert kinds(documents) == set(PLURALS) - {"Namespace", "PodDisruptionBudget"}


def test_the_pod_is_restricted_and_that_of_the_nodes_is_as_little_as_it_can_be(
    server: APIServer, home: str
) -> None:
    documents = {each["kind"]: each for each in render(*EVERYTHING)}
    # Where service accounts are admitted as well, which this server leaves out, the controller makes the pod.
    pods = f"/api/v1/namespaces/{home}/pods?dryRun=All&fieldValidation=Strict"

    def pod(kind: str, name: str = "p") -> Any:
        template = documents[kind]["spec"]["template"]
        return {
            "metadata": {"name": name, "labels": template["metadata"]["labels"]},
            "spec": template["spec"],
        }

    server.create(pods, pod("Deployment"))
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.create(pods, pod("DaemonSet"))
    assert refused.value.code == 403
    said = str(getattr(refused.value, "__notes__", ""))
    assert "hostPath" in said
    # Nothing else is wrong with it than what its task asks for.
    assert "capabilities" not in said and "seccomp" not in said and "allowPrivilegeEscalation" not in said
    spec = documents["DaemonSet"]["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert all(
        each["readOnly"] for each in spec["containers"][0]["volumeMounts"] if each["name"].startswith("host")
    )


def test_the_configs_are_good_ones(tmp_path: Path) -> None:
    more = {
        "collectors": [{"name": "edge", "kind": "tls", "targets": ["www.example.com"]}],
        "exporters": [{"kind": "alertmanager", "urls": ["http://alertmanager:9093"]}],
        "config": {"external_url": "https://certwatch.example.com"},
        "cluster": {"namespaces": ["pay"], "passphrases": [{"key": "password"}]},
    }
    documents = render(*EVERYTHING, values=more, folder=tmp_path)
    held = [
        each["data"]["certwatch.yaml"]
        for each in documents
        if each["kind"] == "ConfigMap" and "certwatch.yaml" in each["data"]
    ]
    main, nodes = (read_config(each, env={"HOME": "/", "NODE_NAME": "one"}) for each in held)
    assert [each.name for each in main.collectors] == ["cluster", "served", "edge"]
    assert [each.kind for each in main.exporters] == ["prometheus", "kubernetes-events", "alertmanager"]
    assert main.external_url == "https://certwatch.example.com"
    assert nodes.collectors[0].labels == {"cluster": "cluster", "node": "one"}


def test_several_daemons_stand_apart_on_one_inventory_and_one_stays(tmp_path: Path) -> None:
    documents = {each["kind"]: each for each in render(*SEVERAL)}
    assert "PersistentVolumeClaim" not in documents
    deployment = documents["Deployment"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]["type"]) == (3, "RollingUpdate")
    pod = deployment["template"]
    (near,) = pod["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    labels = pod["metadata"]["labels"].items()
    assert near["podAffinityTerm"]["labelSelector"]["matchLabels"].items() <= labels
    budget = documents["PodDisruptionBudget"]["spec"]
    assert budget["minAvailable"] == 1 and budget["selector"]["matchLabels"].items() <= labels
    (address,) = [each for each in pod["spec"]["volumes"] if each["name"] == "inventory"]
    assert address["secret"] == {"secretName": "db", "items": [{"key": "url", "path": "url"}]}
    (mount,) = [each for each in pod["spec"]["containers"][0]["volumeMounts"] if each["name"] == "inventory"]
    # As the pod would read it, from another folder.
    (tmp_path / "url").write_text("postgresql://certwatch:secret@db/certwatch\n")
    text = documents["ConfigMap"]["data"]["certwatch.yaml"].replace(mount["mountPath"], str(tmp_path))
    assert read_config(text, env={"HOME": "/"}).inventory == "postgresql://certwatch:secret@db/certwatch"


def test_several_daemons_without_postgresql_are_refused_by_helm() -> None:
    import subprocess

    with pytest.raises(subprocess.CalledProcessError) as refused:
        render("replicas=2")
    assert "more than one daemon needs a PostgreSQL inventory" in refused.value.stderr


def test_the_job_is_called_as_alerts_and_dashboards_have_it_whatever_the_release_is_called() -> None:
    settings = ("--set", "nodes.enabled=true", "--set", "serviceMonitor.enabled=true")
    text = manifests.rendered(*settings, release="watch", helm=binary("helm"))
    documents = [each for each in yaml.safe_load_all(text) if each]
    (monitor,) = [each for each in documents if each["kind"] == "ServiceMonitor"]
    services = [each for each in documents if each["kind"] == "Service"]
    assert len(services) == 2
    assert {each["metadata"]["labels"][monitor["spec"]["jobLabel"]] for each in services} == {"certwatch"}


def test_an_unknown_source_is_refused_by_helm() -> None:
    import subprocess

    with pytest.raises(subprocess.CalledProcessError) as refused:
        render("cluster.sources={secrets,secret}")
    assert 'cluster.sources: unknown source "secret"' in refused.value.stderr


@pytest.fixture
def fresh(server: APIServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace for a release, whose cluster-wide rights end with the test."""
    name = f"release-{abs(hash(request.node.nodeid)) % 10**8}"
    server.namespace(name)
    yield name
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    for path in (f"clusterrolebindings/certwatch-{name}", f"clusterroles/certwatch-{name}"):
        server.delete(f"{rbac}/{path}")
    for where in ("default", "kube-system"):
        for kind in ("rolebindings", "roles"):
            if server.has(f"{rbac}/namespaces/{where}/{kind}/certwatch-control-plane"):
                server.delete(f"{rbac}/namespaces/{where}/{kind}/certwatch-control-plane")


def token_of(server: APIServer, namespace: str) -> str:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/certwatch/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    return str(server.create(path, asked)["status"]["token"])


def granted(documents: list[Any]) -> set[tuple[str, str, str, str]]:
    """Namespace (empty: all), group, resource, verb."""
    return {
        (document["metadata"].get("namespace", ""), group, resource, verb)
        for document in documents
        if document["kind"] in ("Role", "ClusterRole")
        for rule in document["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def asked_for(paths: list[str]) -> set[tuple[str, str, str, str]]:
    found = set()
    for path in paths:
        words, _, query = path.partition("?")
        parts = words.split("/")[1:]
        group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        verb = "watch" if "watch=1" in query else "get" if len(rest) > 1 else "list"
        found.add((namespace, group, rest[0], verb))
    return found


CHOICES: dict[str, dict[str, Any]] = {
    "everything": {},
    **{source: {"sources": [source]} for source in ("secrets", "cert-manager", "control-plane", "services")},
    "two-namespaces": {"namespaces": ["rights-a", "rights-b"]},
    "passphrases": {
        "sources": ["secrets"],
        "namespaces": ["rights-a"],
        "passphrases": [{"secret": "rights-a/opener", "key": "password"}],
    },
}


@pytest.mark.parametrize("choice", CHOICES)
def test_the_rights_are_enough_and_each_is_used(
    server: APIServer, fresh: str, tmp_path: Path, choice: str
) -> None:
    for name in ("rights-a", "rights-b"):
        if not server.has(f"/api/v1/namespaces/{name}"):
            server.namespace(name)
            # Garbage that a passphrase could open.
            server.secret(name, "store", {"store.p12": b"\x30\x03\x02\x01\x03"})
    documents = render(namespace=fresh, values={"cluster": CHOICES[choice]}, folder=tmp_path)
    for each in documents:
        if "Role" in each["kind"] or each["kind"] == "ServiceAccount":
            apply(server, each, dry_run=False)
    (held,) = [each["data"]["certwatch.yaml"] for each in documents if each["kind"] == "ConfigMap"]
    settings = (
        read_config(held, env={"HOME": "/"}).collectors[0].config.model_dump(mode="json", exclude_unset=True)
    )
    with proxied(server) as proxy:
        settings["kubeconfig"] = str(proxy.kubeconfig(tmp_path, token=token_of(server, fresh)))
        said = asyncio.run(collect(KubernetesCollector, settings))
        assert [each.error.message for each in said if isinstance(each, Incomplete)] == []
        used = asked_for(proxy.asked)
    # A scan lists; who follows watches the same. What the server does not have is asked for in vain.
    used |= {(namespace, group, resource, "watch") for namespace, group, resource, _ in used}
    if not CHOICES[choice].get("passphrases"):
        assert not any(verb == "get" for *_, verb in used)
    needed = {
        ("" if (("", group, resource, verb)) in granted(documents) else namespace, group, resource, verb)
        for namespace, group, resource, verb in used
    }
    surplus = {each for each in granted(documents) if each not in needed and each[3] != "get"}
    assert surplus == set(), "granted, and never used"


def test_a_source_that_is_off_is_not_granted_and_its_error_names_it(
    server: APIServer, fresh: str, tmp_path: Path
) -> None:
    documents = render(namespace=fresh, values={"cluster": {"sources": ["secrets"]}}, folder=tmp_path)
    for each in documents:
        if "Role" in each["kind"] or each["kind"] == "ServiceAccount":
            apply(server, each, dry_run=False)
    token = token_of(server, fresh)
    path = server.kubeconfig("limited", token=token)
    said = asyncio.run(
        collect(KubernetesCollector, {"kubeconfig": str(path), "sources": ["secrets", "configmaps"]})
    )
    assert {each.scope for each in said if isinstance(each, Incomplete)} == {
        "limited/configmaps",
        "limited/default/configmaps",
        "limited/kube-system/configmaps",
        "limited/istio-system/configmaps",
    }
    for method, what in (
        ("POST", "/api/v1/namespaces/default/secrets"),
        ("GET", "/api/v1/namespaces/default/pods"),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.ask(method, what, {"metadata": {"name": "x"}} if method == "POST" else None, token=token)
        assert refused.value.code == 403


def test_alerts_and_dashboards_are_those_of_the_repository() -> None:
    documents = render(*EVERYTHING)
    (rule,) = [each for each in documents if each["kind"] == "PrometheusRule"]
    files = sorted((ROOT / "alerts").glob("*.yml"))
    expected = [
        group
        for file in files
        if file.name != "alertmanager.yml"
        for group in yaml.safe_load(file.read_text())["groups"]
    ]
    assert rule["spec"]["groups"] == expected
    shown = {
        name.removeprefix("certwatch-"): json.loads(text)
        for each in documents
        if each["kind"] == "ConfigMap"
        for name, text in each["data"].items()
        if name.endswith(".json")
    }
    assert shown == {each.name: json.loads(each.read_text()) for each in (ROOT / "grafana").glob("*.json")}


def test_the_plain_manifest_is_the_chart_with_its_defaults(server: APIServer, home: str) -> None:
    assert manifests.MANIFEST.read_text() == manifests.manifest(), "run: python -m tools.kubernetes_manifests"
    for each in yaml.safe_load_all(manifests.MANIFEST.read_text()):
        apply(server, each, dry_run=True)


def test_every_source_has_its_rights() -> None:
    assert set(manifests.rights()) == {"owners", *SOURCES}
