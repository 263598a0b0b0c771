"""What goes wrong with clusters, against a real kube-apiserver: nothing is lost, nothing is taken for gone, and a metric
says it."""

import asyncio
import base64
import os
import time
import urllib.error
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certwatch.model.observation import Gone, Incomplete, Observation
from certwatch.plugins.testing import collect, make_certificate
from certwatch.telemetry.metrics import KUBERNETES_FOLLOWED, KUBERNETES_LISTS, KUBERNETES_REQUESTS
from collectors.kubernetes import KubernetesCollector
from tests.support.daemon import certwatch, reading
from tests.support.kubernetes import APIServer, api_server, kubeconfig, serving
from tests.support.kubernetes_collector import TLS, Following, config, following, look, tls
from tests.support.kubernetes_load import create_all
from tests.support.kubernetes_proxy import Fault, Proxy, lists, proxied, watches
from tests.support.servers import free_port, stop, until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.kubernetes,
    pytest.mark.anyio,
    pytest.mark.timeout(180),
]

FIRST = make_certificate(key_number=21)
SECOND = make_certificate(names=["dns:new.example.com"], key_number=22)
NAMESPACES = int(os.environ.get("CERTWATCH_TEST_NAMESPACES", "300"))


@pytest.fixture
def proxy(server: APIServer) -> Iterator[Proxy]:
    with proxied(server) as it:
        yield it


def through(proxy: Proxy, folder: Path, *namespaces: str, **more: Any) -> dict[str, Any]:
    return {
        "kubeconfig": str(proxy.kubeconfig(folder)),
        "namespaces": list(namespaces),
        "sources": ["secrets"],
        **more,
    }


def requests(verb: str, outcome: str) -> float:
    return float(KUBERNETES_REQUESTS.labels("prod", verb, outcome)._value.get())


def lists_begun(reason: str) -> float:
    return float(KUBERNETES_LISTS.labels("prod", "secrets", reason)._value.get())


def seen(said: list[Observation | Incomplete]) -> list[str]:
    return [each.location for each in said if isinstance(each, Observation)]


def missing(said: list[Observation | Incomplete]) -> list[Incomplete]:
    return [each for each in said if isinstance(each, Incomplete)]


async def test_a_connection_that_is_cut_within_a_page_makes_the_scan_partial_and_the_next_is_whole(
    server: APIServer, namespace: str, proxy: Proxy, tmp_path: Path
) -> None:
    for number in range(6):
        server.secret(namespace, f"s{number}", tls(FIRST), type=TLS)
    it = Following(through(proxy, tmp_path, namespace, page_size=2))
    assert len(seen(await it.scan())) == 6
    before = requests("list", "reset")
    proxy.faults.append(Fault(lists("secrets", further_pages=True), cut_after=500))
    said = await it.scan()
    (gap,) = missing(said)
    assert gap.scope == f"prod/{namespace}/secrets"
    assert gap.error.kind == "reset"
    assert requests("list", "reset") == before + 1
    assert len(seen(said)) == 2, "what came before is seen"
    said = await it.scan()
    assert (len(seen(said)), missing(said)) == (6, [])


async def test_a_list_whose_pages_are_too_old_is_begun_again(
    server: APIServer, namespace: str, proxy: Proxy, tmp_path: Path
) -> None:
    for number in range(5):
        server.secret(namespace, f"s{number}", tls(FIRST), type=TLS)
    before = lists_begun("expired")
    proxy.faults.append(Fault(lists("secrets", further_pages=True), status=410, reason="Expired"))
    said = await Following(through(proxy, tmp_path, namespace, page_size=2)).scan()
    assert missing(said) == []
    assert sorted(set(seen(said))) == [f"k8s://prod/{namespace}/secret/s{n}?key=tls.crt" for n in range(5)]
    assert lists_begun("expired") == before + 1


async def test_a_list_that_is_always_too_old_ends_as_a_gap(
    server: APIServer, namespace: str, proxy: Proxy, tmp_path: Path
) -> None:
    server.secret(namespace, "a", tls(FIRST), type=TLS)
    server.secret(namespace, "b", tls(FIRST), type=TLS)
    proxy.faults.append(Fault(lists("secrets", further_pages=True), times=99, status=410, reason="Expired"))
    (gap,) = missing(await Following(through(proxy, tmp_path, namespace, page_size=1)).scan())
    assert "410" in gap.error.message


async def test_a_server_that_asks_for_patience_gets_it(
    server: APIServer, namespace: str, proxy: Proxy, tmp_path: Path
) -> None:
    server.secret(namespace, "web", tls(FIRST), type=TLS)
    before = requests("list", "429")
    proxy.faults.append(
        Fault(lists("secrets"), times=2, status=429, reason="TooManyRequests", headers={"retry-after": "1"})
    )
    began = time.monotonic()
    said = await Following(through(proxy, tmp_path, namespace)).scan()
    assert (len(seen(said)), missing(said)) == (1, [])
    assert time.monotonic() - began >= 2
    assert requests("list", "429") == before + 2


@pytest.mark.parametrize("how", ["status", "event"])
async def test_a_watch_that_is_too_old_lists_again_and_loses_nothing(
    server: APIServer, namespace: str, proxy: Proxy, tmp_path: Path, how: str
) -> None:
    server.secret(namespace, "gone", tls(FIRST), type=TLS)
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    proxy.faults.append(
        Fault(watches("secrets"), status=410, reason="Expired")
        if how == "status"
        else Fault(watches("secrets"), event={"type": "ERROR", "object": gone})
    )
    before = lists_begun("expired")
    async with following(through(proxy, tmp_path, namespace)) as it:
        # Between the list and the watch, so that only another list can tell.
        server.delete(f"/api/v1/namespaces/{namespace}/secrets/gone")
        server.secret(namespace, "new", tls(SECOND), type=TLS)
        said = [await it.next(), await it.next()]
        assert {(type(each), each.location.rpartition("/")[2]) for each in said} == {
            (Observation, "new?key=tls.crt"),
            (Gone, "gone?key=tls.crt"),
        }
        assert lists_begun("expired") == before + 1


async def test_a_watch_that_is_cut_goes_on_where_it_was_without_a_list(
    server: APIServer, namespace: str, proxy: Proxy, tmp_path: Path
) -> None:
    async with following(through(proxy, tmp_path, namespace)) as it:
        server.secret(namespace, "a", tls(FIRST), type=TLS)
        assert isinstance(await it.next(), Observation)
        listed = proxy.count(lists("secrets"))
        proxy.cut_all()
        server.secret(namespace, "b", tls(SECOND), type=TLS)
        after = await it.next()
        assert isinstance(after, Observation)
        assert after.chain == SECOND.chain_der
        assert proxy.count(lists("secrets")) == listed
        assert proxy.count(watches("secrets")) >= 2


async def test_half_an_event_is_no_event(
    server: APIServer, namespace: str, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.faults.append(Fault(watches("secrets"), cut_after=300))
    async with following(through(proxy, tmp_path, namespace)) as it:
        server.secret(namespace, "a", tls(FIRST), type=TLS)
        seen = await it.next()
        assert isinstance(seen, Observation)
        assert seen.chain == FIRST.chain_der


async def test_an_event_that_is_no_json_is_asked_for_again(
    server: APIServer, namespace: str, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.faults.append(Fault(watches("secrets"), event=["no", "event"]))
    async with following(through(proxy, tmp_path, namespace)) as it:
        server.secret(namespace, "a", tls(FIRST), type=TLS)
        assert isinstance(await it.next(), Observation)


async def test_a_token_that_is_rotated_while_it_watches_is_taken(
    server: APIServer, namespace: str, proxy: Proxy, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("admin-token")
    settings = through(proxy, tmp_path, namespace)
    settings["kubeconfig"] = str(proxy.kubeconfig(tmp_path, token_file=token))
    before = requests("watch", "401")
    async with following(settings) as it:
        server.secret(namespace, "a", tls(FIRST), type=TLS)
        assert isinstance(await it.next(), Observation)
        # The old one is refused from now on; the new one lies there, as the kubelet puts it.
        token.write_text("reader-token")
        await asyncio.to_thread(_let_read, server, namespace)
        proxy.faults.append(
            Fault(lambda path, headers: headers.get("authorization") == "Bearer admin-token", 9, 401)
        )
        proxy.cut_all()
        server.secret(namespace, "b", tls(SECOND), type=TLS)
        assert isinstance(await it.next(), Observation)
        assert requests("watch", "401") > before


async def test_a_right_that_is_taken_away_while_it_watches_is_a_gap_until_it_is_given_back(
    server: APIServer, namespace: str, proxy: Proxy, tmp_path: Path
) -> None:
    settings = through(proxy, tmp_path, namespace)
    settings["kubeconfig"] = str(proxy.kubeconfig(tmp_path, token="reader-token"))
    await asyncio.to_thread(_let_read, server, namespace)
    binding = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings/reads"
    server.secret(namespace, "a", tls(FIRST), type=TLS)
    followed = KUBERNETES_FOLLOWED.labels("prod", namespace, "secrets")
    async with following(settings) as it:
        server.secret(namespace, "b", tls(SECOND), type=TLS)
        assert isinstance(await it.next(), Observation)
        assert len(seen(await it.scan())) == 2
        server.delete(binding)
        nothing = asyncio.create_task(it.next(seconds=60))

        # An open watch goes on (the server asks once, when it begins); the next is refused.
        await until(lambda: _is_forbidden(server, namespace), what="forbidden")
        proxy.cut_all()

        async def is_refused() -> bool:
            return bool(followed._value.get() == 0)

        await until(is_refused, what="refused")
        (gap,) = missing(await it.scan())
        assert (gap.scope, gap.error.kind) == (f"prod/{namespace}/secrets", "permission")
        assert "Grant list and watch on secrets" in gap.error.message
        assert not nothing.done(), "nothing is gone"
        server.delete(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/reads")
        await asyncio.to_thread(_let_read, server, namespace)
        server.secret(namespace, "c", tls(FIRST), type=TLS)
        later = await nothing
        assert isinstance(later, Observation)
        assert later.location.endswith("/c?key=tls.crt")
        assert len(seen(await it.scan())) == 3


async def _is_forbidden(server: APIServer, namespace: str) -> bool:
    try:
        await asyncio.to_thread(
            server.ask, "GET", f"/api/v1/namespaces/{namespace}/secrets?limit=1", token="reader-token"
        )
    except urllib.error.HTTPError as refused:
        return refused.code == 403
    return False


def _let_read(server: APIServer, namespace: str) -> None:
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "watch"]}]
    server.create(f"{rbac}/roles", {"metadata": {"name": "reads"}, "rules": rules})
    server.create(
        f"{rbac}/rolebindings",
        {
            "metadata": {"name": "reads"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reads"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
        },
    )


async def test_a_mebibyte_of_garbage_is_passed_over_and_said(server: APIServer, namespace: str) -> None:
    garbage = os.urandom(1000 * 1000)
    server.secret(namespace, "garbage", {"tls.crt": garbage, "tls.key": b""}, type="Opaque")
    server.secret(namespace, "keystore", {"store.p12": b"\x30\x84" + garbage}, type="Opaque")
    server.secret(namespace, "text", {"ca.crt": b"-----BEGIN CERTIFICATE-----\n" * 30_000}, type="Opaque")
    server.secret(namespace, "web", tls(FIRST), type=TLS)
    found = await look(server, namespace)
    kinds = {place.rpartition("/")[2]: each.error and each.error.kind for place, each in found.items()}
    assert kinds.pop("web?key=tls.crt") is None
    assert set(kinds) == {"garbage?key=tls.crt", "keystore?key=store.p12", "text?key=ca.crt"}
    assert set(kinds.values()) <= {"malformed", "no-certificate"}


async def test_an_object_that_is_nested_without_measure_hides_no_other(
    server: APIServer, namespace: str
) -> None:
    """The API takes it from everybody who may write one: nobody looks into managedFields."""
    levels = 9000
    fields = '{"f:a":' * levels + "{}" + "}" * levels
    managed = (
        '[{"manager":"x","operation":"Update","apiVersion":"v1","time":"2026-01-01T00:00:00Z",'
        f'"fieldsType":"FieldsV1","fieldsV1":{fields}}}]'
    )

    def deep(name: str) -> bytes:
        crt = base64.b64encode(FIRST.pem).decode()
        meta = f'{{"name":"{name}","managedFields":{managed}}}'
        return f'{{"metadata":{meta},"data":{{"tls.crt":"{crt}"}}}}'.encode()

    path = f"/api/v1/namespaces/{namespace}/secrets"
    server.secret(namespace, "a", tls(FIRST), type=TLS)
    await asyncio.to_thread(server.put_in, path, deep("deep"))
    server.secret(namespace, "z", tls(FIRST), type=TLS)
    async with following(config(server, namespace)) as it:
        names = [each.rpartition("/")[2] for each in seen(await it.scan())]
        assert names == ["a?key=tls.crt", "deep?key=tls.crt", "z?key=tls.crt"]
        await asyncio.to_thread(server.put_in, path, deep("later"))
        change = await it.next()
        assert change.location.endswith("/later?key=tls.crt")


async def test_one_of_three_clusters_comes_back_and_nothing_of_it_was_lost(
    server: APIServer, namespace: str, tmp_path: Path
) -> None:
    server.secret(namespace, "web", tls(FIRST), type=TLS)
    ca = server.ca.read_bytes()
    port = free_port()
    path = tmp_path / "kubeconfig"

    def write(second: str) -> None:
        import yaml

        urls = [("one", server.url), ("two", second), ("three", server.url)]
        path.write_text(yaml.safe_dump(kubeconfig([(name, url, ca, "admin-token") for name, url in urls])))

    settings = {
        "kubeconfig": str(path),
        "contexts": ["*"],
        "namespaces": [namespace],
        "sources": ["secrets"],
    }
    write(server.url)
    assert len(seen(await collect(KubernetesCollector, settings))) == 3
    write(f"https://127.0.0.1:{port}")
    said = await collect(KubernetesCollector, settings)
    assert {each.partition("//")[2].partition("/")[0] for each in seen(said)} == {"one", "three"}
    assert [(each.scope, each.error.kind) for each in missing(said)] == [
        (f"two/{namespace}/secrets", "refused")
    ]


def test_thousands_of_namespaces_are_one_list_and_one_watch(server: APIServer) -> None:
    """CERTWATCH_TEST_NAMESPACES=10000 for as many as some have."""
    run = os.urandom(2).hex()
    made = [f"many-{run}-{number:05}" for number in range(NAMESPACES)]

    async def create() -> None:
        namespaces = [
            ("/api/v1/namespaces", {"metadata": {"name": name, "labels": {"team": f"t{number % 7}"}}})
            for number, name in enumerate(made)
        ]
        await create_all(server, namespaces)
        await create_all(
            server, [(f"/api/v1/namespaces/{name}/secrets", _secret(name)) for name in made[::5]]
        )

    asyncio.run(create())
    before = server.requests("LIST", "secrets")
    found = asyncio.run(look(server, f"many-{run}-*", page_size=100))
    owners = {each.labels["namespace"]: each.labels["owner"] for each in found.values()}
    assert owners == {name: f"t{number % 7}" for number, name in enumerate(made) if number % 5 == 0}
    # By pages of the whole, which other tests add to; not one for each namespace.
    assert server.requests("LIST", "secrets") - before <= len(made) // 5 // 100 + 10


def _secret(namespace: str) -> dict[str, Any]:
    from tests.support.kubernetes import secret

    return secret(namespace, "web", tls(FIRST), type=TLS)


def test_an_api_server_that_restarts_loses_nothing_and_retires_nothing(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    first = make_certificate(not_before=now - timedelta(days=1), not_after=now + timedelta(days=80))
    second = make_certificate(
        names=["dns:new.example.com"],
        not_before=now - timedelta(days=1),
        not_after=now + timedelta(days=80),
        key_number=23,
    )
    with api_server(tmp_path / "own") as own:
        own.namespace("pay")
        own.secret("pay", "web", tls(first), type=TLS)
        own.secret("pay", "old", tls(first), type=TLS)
        settings = config(own, "pay")
        collector = (
            f" [{{name: prod, kind: kubernetes, every: 2s, kubeconfig: {settings['kubeconfig']},"
            " namespaces: [pay], sources: [secrets]}]"
        )
        labels = {"cluster": "prod", "namespace": "pay", "resource": "secrets"}
        with certwatch(tmp_path, collector) as daemon:
            daemon.wait(
                lambda: daemon.metric("certwatch_kubernetes_followed", **labels) == 1, what="followed"
            )
            assert own.process is not None
            stop(own.process)
            daemon.wait(
                lambda: daemon.metric("certwatch_kubernetes_followed", **labels) == 0, what="not followed"
            )
            daemon.wait(
                lambda: bool(daemon.metric("certwatch_scans_total", collector="prod", status="failed")),
                what="a failed scan",
            )
            with reading(daemon.inventory) as reader:
                live = [each.location.uri for each in reader.live()]
            assert sorted(live) == [f"k8s://prod/pay/secret/{name}?key=tls.crt" for name in ("old", "web")]
            with serving(own):
                own.replace_secret("pay", "web", tls(second), type=TLS)
                own.delete("/api/v1/namespaces/pay/secrets/old")

                def caught_up() -> bool:
                    with reading(daemon.inventory) as reader:
                        served = list(reader.live())
                    return [each.leaf.der for each in served if each.leaf] == [second.der]

                daemon.wait(caught_up, what="what happened meanwhile and after")
                daemon.wait(
                    lambda: daemon.metric("certwatch_kubernetes_followed", **labels) == 1,
                    what="followed again",
                )
