"""Which endpoints a cluster's objects lead to: as targets that the tls collector takes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.kubernetes import control_plane, hosts, trees
from collectors.kubernetes.config import KubernetesConfig
from collectors.kubernetes.place import Place
from collectors.kubernetes.reading import Read, Reading
from collectors.kubernetes.resources import Reader
from collectors.tls.targets import parse

READING = Reading(cluster="prod", config=KubernetesConfig())


def read(reader: Reader, *, name: str = "web", namespace: str = "pay", **document: Any) -> Read:
    annotations, labels = document.pop("annotations", {}), document.pop("labels", {})
    metadata = {"name": name, "namespace": namespace, "annotations": annotations, "labels": labels}
    return reader(json.dumps({"metadata": metadata, **document}).encode(), READING)


def targets(read: Read) -> dict[str, Any]:
    return {each.location.removeprefix("k8s://prod/"): each.facts.get("tls_targets") for each in read.places}


INGRESS = {"tls": [{"hosts": ["shop.example.com"], "secretName": "shop"}]}


def test_an_ingress_is_looked_at_by_name_and_at_its_load_balancer() -> None:
    status = {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}, {"ip": "2001:db8::7"}]}}
    found = read(hosts.ingress, spec=INGRESS, status=status)
    (place,) = found.places
    assert place.facts == {
        "kubernetes_host": "shop.example.com",
        "kubernetes_port": 443,
        "kubernetes_secret": "pay/shop",
        "tls_targets": "shop.example.com:443 tls://203.0.113.7:443/?sni=shop.example.com"
        " tls://[2001:db8::7]:443/?sni=shop.example.com",
    }


def test_behind_a_wildcard_some_name_is_asked_for_where_an_address_is_known() -> None:
    spec = {"tls": [{"hosts": ["*.example.com"], "secretName": "any"}]}
    assert targets(read(hosts.ingress, spec=spec)) == {"pay/ingress/web?host=%2A.example.com": None}
    status = {"loadBalancer": {"ingress": [{"hostname": "lb.example.net"}]}}
    (said,) = targets(read(hosts.ingress, spec=spec, status=status)).values()
    assert said == "tls://lb.example.net:443/?sni=certwatch.example.com"


def test_an_ingress_without_hosts_serves_those_of_its_rules() -> None:
    spec = {"tls": [{"secretName": "shop"}], "rules": [{"host": "a.example.com"}, {"http": {}}]}
    assert targets(read(hosts.ingress, spec=spec)) == {
        "pay/ingress/web?host=a.example.com": "a.example.com:443"
    }


def test_an_annotation_says_it_in_place_of_what_follows_from_the_object() -> None:
    annotations = {"certwatch.io/targets": "shop.example.com:8443, mail.example.com:25/smtp"}
    found = read(hosts.ingress, spec=INGRESS, annotations=annotations)
    assert list(targets(found).values()) == ["shop.example.com:8443 mail.example.com:25/smtp"]


def test_a_gateways_listeners_are_looked_at_by_their_ports() -> None:
    listeners = [
        {
            "protocol": "HTTPS",
            "port": 8443,
            "hostname": "a.example.com",
            "tls": {"certificateRefs": [{"name": "a", "namespace": "certs"}]},
        },
        {"protocol": "HTTP", "port": 80, "hostname": "b.example.com"},
        {"protocol": "HTTPS", "port": 443},
    ]
    found = read(hosts.gateway, spec={"listeners": listeners}, status={"addresses": [{"value": "192.0.2.1"}]})
    assert targets(found) == {
        "pay/gateway/web?host=a.example.com%3A8443": "a.example.com:8443 tls://192.0.2.1:8443/?sni=a.example.com"
    }
    assert found.places[0].facts["kubernetes_secret"] == "certs/a"


def test_names_that_a_gateway_leaves_to_its_routes_are_looked_at() -> None:
    spec = {"parentRefs": [{"name": "gateway"}], "hostnames": ["a.example.com", "b.example.com"]}
    assert list(targets(read(hosts.http_route, spec=spec)).values()) == [
        "a.example.com:443",
        "b.example.com:443",
    ]


def test_a_service_is_looked_at_where_it_speaks_tls() -> None:
    ports = [
        {"port": 443, "name": "https"},
        {"port": 9000, "appProtocol": "kubernetes.io/wss"},
        {"port": 80, "name": "http"},
        {"port": 8443, "name": "http-alt"},
        {"port": 443, "protocol": "UDP", "name": "quic"},
    ]
    annotations = {
        "external-dns.alpha.kubernetes.io/hostname": "api.example.com",
        "service.beta.openshift.io/serving-cert-secret-name": "api-tls",
    }
    found = read(hosts.service, spec={"ports": ports}, annotations=annotations)
    assert targets(found) == {
        "pay/service/web?host=web.pay.svc": "web.pay.svc:443",
        "pay/service/web?host=web.pay.svc%3A9000": "web.pay.svc:9000",
        "pay/service/web?host=api.example.com": "api.example.com:443",
        "pay/service/web?host=api.example.com%3A9000": "api.example.com:9000",
    }
    assert {each.facts["kubernetes_secret"] for each in found.places} == {"pay/api-tls"}
    assert read(hosts.service, spec={"ports": [{"port": 80}]}).places == ()


def test_a_route_is_looked_at_by_name() -> None:
    assert list(targets(read(trees.route, spec={"host": "a.example.com", "tls": {}})).values()) == [
        "a.example.com:443"
    ]
    assert read(trees.route, spec={"host": "a.example.com"}).places == ()


def test_a_node_is_its_kubelet() -> None:
    status = {
        "addresses": [
            {"type": "InternalIP", "address": "10.0.0.7"},
            {"type": "InternalIP", "address": "2001:db8::7"},
            {"type": "Hostname", "address": "node-7"},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10255}},
    }
    found = read(control_plane.node, name="node-7", namespace="", status=status)
    assert targets(found) == {"-/node/node-7": "10.0.0.7:10255 [2001:db8::7]:10255"}


def test_every_api_server_has_its_own_address() -> None:
    found = read(
        control_plane.api_servers,
        name="kubernetes",
        namespace="default",
        ports=[{"name": "https", "port": 6443}, {"name": "other", "port": 1}],
        endpoints=[{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}],
    )
    assert targets(found) == {"default/endpointslice/kubernetes": "10.0.0.1:6443 10.0.0.2:6443"}


@pytest.mark.parametrize(
    ("component", "flags", "expected"),
    [
        ("kube-scheduler", ["--bind-address=0.0.0.0"], "10.0.0.1:10259"),
        ("kube-scheduler", ["--bind-address=127.0.0.1"], None),
        ("kube-controller-manager", ["--secure-port=11257"], "10.0.0.1:11257"),
        (
            "etcd",
            ["--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379"],
            "10.0.0.1:2379",
        ),
        ("etcd", ["--listen-client-urls=http://10.0.0.1:2379"], "10.0.0.1:2379"),
        ("etcd", ["--listen-client-urls=https://[::1"], None),
        ("kube-proxy", [], None),
    ],
)
def test_a_component_is_looked_at_where_it_listens(
    component: str, flags: list[str], expected: str | None
) -> None:
    found = read(
        control_plane.pod,
        name=f"{component}-one",
        namespace="kube-system",
        labels={"component": component},
        spec={"containers": [{"command": [component, *flags]}]},
        status={"hostIP": "10.0.0.1"},
    )
    assert [each.facts["tls_targets"] for each in found.places] == ([expected] if expected else [])


def test_the_api_server_is_looked_at_as_its_clients_reach_it() -> None:
    def said(url: str) -> Any:
        return control_plane.api_server("prod", url).facts.get("tls_targets")

    assert said("https://api.example.com") == "api.example.com:443"
    assert said("https://[2001:db8::1]:6443/k8s/clusters/c-1") == "[2001:db8::1]:6443"
    assert said("http://127.0.0.1:8001") is None


KEYS = (
    "tls hosts listeners hostname port ports addresses value ingress loadBalancer protocol name containers"
    " command endpoints host parentRefs"
).split()
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=12)
    | st.sampled_from(["HTTPS", "a.example"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
READERS = (
    hosts.ingress,
    hosts.gateway,
    hosts.http_route,
    hosts.service,
    trees.route,
    control_plane.node,
    control_plane.api_servers,
    control_plane.pod,
)


@given(st.sampled_from(READERS), JSON, JSON)
def test_whatever_stands_in_an_object_every_target_is_one(reader: Reader, spec: Any, status: Any) -> None:
    found = read(
        reader,
        spec=spec,
        status=status,
        endpoints=spec,
        ports=status,
        labels={"component": "etcd"},
    )
    places: tuple[Place, ...] = found.places
    for place in places:
        for each in str(place.facts.get("tls_targets", "")).split():
            try:
                parse(each)
            except ValueError as error:
                # Names that look like names and are none (a label of 64 letters) are refused there, and counted.
                assert "label" in str(error) or "name" in str(error), each
