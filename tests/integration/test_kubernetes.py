"""The kubernetes collector against a real kube-apiserver with etcd."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
import yaml

from certwatch.doors.kubernetes import Access, Client, from_kubeconfig, in_cluster
from certwatch.model.observation import Gone, Incomplete, Observation
from certwatch.plugins.collector import CollectError
from certwatch.plugins.testing import FakeClock, collect, make_ca, make_certificate
from collectors.kubernetes import KubernetesCollector
from tests.support.daemon import certwatch, reading
from tests.support.kubernetes import APIServer, kubeconfig
from tests.support.kubernetes_collector import TLS, Following, config, following, look, tls
from tests.support.servers import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.kubernetes,
    pytest.mark.anyio,
    pytest.mark.timeout(120),
]

FIRST = make_certificate(key_number=11)
SECOND = make_certificate(names=["dns:new.example.com"], key_number=12)


async def test_a_tls_secret_is_seen_with_its_chain_its_key_and_its_owner(
    server: APIServer, namespace: str
) -> None:
    root = make_ca("Cluster Root", key_number=130)
    site = make_certificate(issuer=make_ca("Cluster CA", issuer=root, key_number=131), key_number=13)
    server.secret(namespace, "web-tls", {**tls(site), "ca.crt": root.pem}, type=TLS, labels={"team": "pay"})
    found = await look(server, namespace)
    chain = found[f"k8s://prod/{namespace}/secret/web-tls?key=tls.crt"]
    assert chain.chain == site.chain_der
    assert chain.facts == {"arrangement": "chain", "key_match": True}
    assert chain.labels == {"cluster": "prod", "namespace": namespace, "owner": "pay"}
    assert chain.scope == f"prod/{namespace}/secrets"
    trusted = found[f"k8s://prod/{namespace}/secret/web-tls?key=ca.crt"]
    assert trusted.chain == (root.der,)
    assert trusted.facts["arrangement"] == "bundle"
    assert len(found) == 2


async def test_the_owner_is_the_namespaces_where_the_object_says_none(
    server: APIServer, namespace: str
) -> None:
    owned = f"owned-{namespace}"
    server.namespace(owned, annotations={"certwatch.io/owner": "platform"})
    server.secret(owned, "a", tls(FIRST), type=TLS)
    (seen,) = (await look(server, owned)).values()
    assert seen.labels["owner"] == "platform"


async def test_types_without_certificates_are_not_even_sent(server: APIServer, namespace: str) -> None:
    server.secret(
        namespace, "sh.helm.release.v1.web.v1", {"release.pem": FIRST.pem}, type="helm.sh/release.v1"
    )
    server.secret(namespace, "opaque", {"site.pem": FIRST.pem, "note.txt": FIRST.pem})
    found = await look(server, namespace)
    assert list(found) == [f"k8s://prod/{namespace}/secret/opaque?key=site.pem"]


async def test_many_pages_come_to_the_same_as_one(server: APIServer, namespace: str) -> None:
    for number in range(23):
        server.secret(namespace, f"s{number:02}", tls(FIRST), type=TLS)
    assert await look(server, namespace, page_size=5) == await look(server, namespace)
    assert len(await look(server, namespace, page_size=5)) == 23


async def test_a_changed_secret_is_told_by_the_watch(server: APIServer, namespace: str) -> None:
    server.secret(namespace, "web", tls(FIRST), type=TLS)
    async with following(config(server, namespace)) as it:
        task = asyncio.create_task(it.next())
        await asyncio.sleep(0)
        await it.until_followed("secrets")
        listed = server.requests("LIST", "secrets")
        await asyncio.to_thread(server.replace_secret, namespace, "web", tls(SECOND), type=TLS)
        seen = await task
        assert server.requests("LIST", "secrets") == listed
        assert isinstance(seen, Observation)
        assert seen.chain == SECOND.chain_der


async def test_every_namespace_that_is_named_is_watched_however_many_there_are(
    server: APIServer, namespace: str
) -> None:
    """Each watch is a connection of its own; the pool once had a hundred, and the rest waited for nothing."""
    absent = [f"absent-{number}" for number in range(120)]
    server.secret(namespace, "web", tls(FIRST), type=TLS)
    async with following(config(server, *absent, namespace)) as it:
        task = asyncio.create_task(it.next(seconds=90))

        async def all_followed() -> bool:
            (cluster,) = it.collector._clusters or []
            return len(cluster._followed) == 122  # the namespaces themselves too

        await until(all_followed, what="121 watches")
        await asyncio.to_thread(server.replace_secret, namespace, "web", tls(SECOND), type=TLS)
        seen = await task
        assert isinstance(seen, Observation)
        assert seen.chain == SECOND.chain_der


async def test_what_is_made_and_deleted_is_told_and_memory_follows(server: APIServer, namespace: str) -> None:
    async with following(config(server, namespace)) as it:
        server.secret(namespace, "new", tls(FIRST), type=TLS)
        seen = await it.next()
        assert isinstance(seen, Observation)
        assert seen.location == f"k8s://prod/{namespace}/secret/new?key=tls.crt"
        before = server.requests("LIST", "secrets")
        assert [each.location for each in await it.scan() if isinstance(each, Observation)] == [seen.location]
        # What is followed costs the server nothing to look at.
        assert server.requests("LIST", "secrets") == before
        server.delete(f"/api/v1/namespaces/{namespace}/secrets/new")
        gone = await it.next()
        assert isinstance(gone, Gone)
        assert gone.location == seen.location
        assert await it.scan() == []


async def test_a_key_that_goes_from_a_secret_is_told(server: APIServer, namespace: str) -> None:
    server.secret(namespace, "two", {"a.pem": FIRST.pem, "b.pem": SECOND.pem})
    async with following(config(server, namespace)) as it:
        task = asyncio.create_task(it.next())
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.replace_secret, namespace, "two", {"a.pem": FIRST.pem})
        said = [await task, await it.next()]
        assert {type(each) for each in said} == {Observation, Gone}
        assert next(each for each in said if isinstance(each, Gone)).location.endswith("/two?key=b.pem")


async def test_a_missing_permission_is_one_error_that_names_it_and_the_rest_goes_on(
    server: APIServer, namespace: str
) -> None:
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    role = f"reads-{namespace}"
    server.create(
        f"{rbac}/namespaces/{namespace}/roles",
        {
            "metadata": {"name": role},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}],
        },
    )
    server.create(
        f"{rbac}/namespaces/{namespace}/rolebindings",
        {
            "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
        },
    )
    server.secret(namespace, "web", tls(FIRST), type=TLS)
    settings = config(server, namespace, "default", sources=["secrets", "configmaps"])
    settings["kubeconfig"] = str(server.kubeconfig(token="reader-token"))
    said = await collect(KubernetesCollector, settings)
    assert [each.location for each in said if isinstance(each, Observation)] == [
        f"k8s://prod/{namespace}/secret/web?key=tls.crt"
    ]
    missing = {each.scope: each.error for each in said if isinstance(each, Incomplete)}
    assert set(missing) == {"prod/default/secrets", "prod/default/configmaps", f"prod/{namespace}/configmaps"}
    error = missing["prod/default/secrets"]
    assert error.kind == "permission"
    assert error.message.startswith('prod: cannot read secrets in "default": 403 ')
    assert error.message.endswith("Grant list and watch on secrets, or take it out of `sources`")


async def test_a_refused_token_fails_the_scan(server: APIServer) -> None:
    with pytest.raises(CollectError) as refused:
        await collect(
            KubernetesCollector,
            {"kubeconfig": str(server.kubeconfig(token="no-such-token")), "sources": ["secrets"]},
        )
    assert refused.value.kind == "permission"
    assert "401" in refused.value.message


async def test_a_rotated_token_is_taken(server: APIServer, namespace: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("no-such-token")
    document = kubeconfig([("prod", server.url, server.ca.read_bytes(), "")])
    document["users"][0]["user"] = {"tokenFile": str(token)}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    server.secret(namespace, "web", tls(FIRST), type=TLS)
    it = Following(config(server, namespace) | {"kubeconfig": str(path)})
    with pytest.raises(CollectError):
        await it.scan()
    token.write_text("admin-token\n")
    assert len(await it.scan()) == 1


async def test_a_user_by_certificate_and_a_pod_by_its_mounted_token_are_let_in(
    server: APIServer, namespace: str, tmp_path: Path
) -> None:
    server.secret(namespace, "web", tls(FIRST), type=TLS)
    server.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "certwatch"}})
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "watch"]}]
    server.create(f"{rbac}/roles", {"metadata": {"name": "reads"}, "rules": rules})
    group = "rbac.authorization.k8s.io"
    subjects = [
        {"apiGroup": group, "kind": "User", "name": "reader"},
        {"kind": "ServiceAccount", "name": "certwatch", "namespace": namespace},
    ]
    role = {"apiGroup": group, "kind": "Role", "name": "reads"}
    server.create(
        f"{rbac}/rolebindings", {"metadata": {"name": "reads"}, "roleRef": role, "subjects": subjects}
    )
    document = kubeconfig([("prod", server.url, server.ca.read_bytes(), "")])
    document["users"][0]["user"] = {
        "client-certificate": str(server.folder / "reader.pem"),
        "client-key": str(server.folder / "reader.key"),
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(document))
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/certwatch/token"
    (tmp_path / "token").write_text(server.create(path, asked)["status"]["token"])
    (tmp_path / "ca.crt").write_bytes(server.ca.read_bytes())
    env = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}
    ways = {
        "certificate": lambda: from_kubeconfig(tmp_path / "kubeconfig", "prod"),
        "pod": lambda: cast("Access", in_cluster(env, tmp_path)),
    }
    for name, way in ways.items():
        async with Client(name, way) as client:
            pages = client.pages(f"/api/v1/namespaces/{namespace}/secrets", {}, limit=10)
            assert [len(page.items) async for page in pages] == [1], name


async def test_one_cluster_that_is_down_takes_none_of_the_others_with_it(
    server: APIServer, namespace: str, tmp_path: Path
) -> None:
    server.secret(namespace, "web", tls(FIRST), type=TLS)
    path = tmp_path / "kubeconfig"
    from tests.support.servers import free_port

    ca = server.ca.read_bytes()
    dead = f"https://127.0.0.1:{free_port()}"
    clusters = [
        ("one", server.url, ca, "admin-token"),
        ("two", dead, ca, "admin-token"),
        ("three", server.url, ca, "admin-token"),
    ]
    path.write_text(yaml.safe_dump(kubeconfig(clusters)))
    said = await collect(
        KubernetesCollector,
        {"kubeconfig": str(path), "contexts": ["*"], "namespaces": [namespace], "sources": ["secrets"]},
    )
    assert sorted(each.location for each in said if isinstance(each, Observation)) == [
        f"k8s://one/{namespace}/secret/web?key=tls.crt",
        f"k8s://three/{namespace}/secret/web?key=tls.crt",
    ]
    (missing,) = [each for each in said if isinstance(each, Incomplete)]
    assert (missing.scope, missing.error.kind) == (f"two/{namespace}/secrets", "refused")


def test_the_daemon_has_a_change_and_its_finding_without_another_scan(
    server: APIServer, namespace: str, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    good = make_certificate(
        not_before=now - timedelta(days=1), not_after=now + timedelta(days=80), key_number=14
    )
    dying = make_certificate(
        not_before=now - timedelta(days=80), not_after=now + timedelta(hours=20), key_number=15
    )
    server.secret(namespace, "web", tls(good), type=TLS)
    collector = (
        f" [{{name: prod, kind: kubernetes, every: 1h, kubeconfig: {server.kubeconfig()},"
        f" namespaces: [{namespace}], sources: [secrets]}}]"
    )
    uri = f"k8s://prod/{namespace}/secret/web?key=tls.crt"
    with certwatch(tmp_path, collector) as daemon:
        labels = {"cluster": "prod", "resource": "secrets"}
        daemon.wait(lambda: daemon.metric("certwatch_kubernetes_followed", **labels) == 1, what="followed")
        server.replace_secret(namespace, "web", tls(dying), type=TLS)

        def found() -> bool:
            with reading(daemon.inventory) as reader:
                return any(each.location == uri and each.rule == "expiry" for each in reader.open_findings())

        daemon.wait(found, what="the finding")
        server.delete(f"/api/v1/namespaces/{namespace}/secrets/web")

        def retired() -> bool:
            with reading(daemon.inventory) as reader:
                served = reader.served(uri)  # type: ignore[arg-type]
                return served is not None and served.retired_at is not None

        daemon.wait(retired, what="retired")


async def test_it_looks_the_same_by_a_fake_clock(server: APIServer, namespace: str) -> None:
    server.secret(namespace, "web", tls(FIRST), type=TLS)
    clock = FakeClock()
    said = await collect(KubernetesCollector, config(server, namespace), clock=clock)
    assert [each.observed_at for each in said if isinstance(each, Observation)] == [clock.now]
