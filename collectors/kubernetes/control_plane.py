"""Endpoints of the cluster itself: API servers, kubelets, etcd, scheduler, controller-manager."""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import msgspec

from certwatch.model.observation import Fact
from collectors.kubernetes.objects import Tree, at, decode, listed, string
from collectors.kubernetes.place import Place, location
from collectors.kubernetes.reading import Read, Reading
from collectors.kubernetes.targets import bracketed, joined

_KUBELET = 10250
#: Static pods of a control plane by the label `component`, as kubeadm writes it: the port that each serves TLS at.
_PORTS = {"etcd": 2379, "kube-scheduler": 10259, "kube-controller-manager": 10257}
_ANYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - what a component says that it listens on
#: Of one object: a control plane has three or five.
_MOST = 50


def node(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    """The kubelet's own port."""
    tree = decode(item, Tree)
    said = at(tree.status, "daemonEndpoints", "kubeletEndpoint", "Port")
    port = said if isinstance(said, int) and 0 < said < 65536 else _KUBELET
    addresses = [
        string(each, "address")
        for each in listed(tree.status, "addresses")
        if string(each, "type") == "InternalIP"
    ]
    return _read("node", "kubelet", tree, [(each, port) for each in addresses], reading)


def api_servers(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    """The EndpointSlice of the Service `kubernetes`: every API server with its own address."""
    tree = decode(item, _Slice)
    ports = [at(each, "port") for each in listed(tree.ports) if string(each, "name") == "https"]
    found = [
        (address, port)
        for endpoint in listed(tree.endpoints)
        for address in listed(endpoint, "addresses")
        for port in ports
        if isinstance(address, str) and isinstance(port, int)
    ]
    return _read("endpointslice", "kube-apiserver", tree, found, reading)


def pod(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    """A static pod of the control plane. One that listens on loopback only (kubeadm's scheduler) cannot be looked at."""
    tree = decode(item, Tree)
    component = (tree.metadata.labels or {}).get("component", "")
    port = _PORTS.get(component)
    if port is None:
        return Read(meta=tree.metadata)
    address = string(tree.status, "hostIP") or string(tree.status, "podIP")
    found = list(_listening(address, port, tree)) if address else []
    return _read("pod", component, tree, found, reading)


def _listening(address: str, port: int, tree: Tree) -> Iterator[tuple[str, int]]:
    flags: dict[str, str] = {}
    for container in listed(tree.spec, "containers"):
        for word in [*listed(container, "command"), *listed(container, "args")]:
            if isinstance(word, str) and word.startswith("--"):
                name, _, value = word[2:].partition("=")
                flags.setdefault(name, value)
    urls = [each for each in flags.get("listen-client-urls", "").split(",") if each.startswith("https:")]
    places = [_host_and_port(each) for each in urls] or [
        (flags.get("bind-address", ""), _number(flags.get("secure-port"), port))
    ]
    for host, number in places:
        if host in _ANYWHERE:
            yield address, number or port
        elif host is not None and not _is_loopback(host):
            yield host, number or port


def _host_and_port(url: str) -> tuple[str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.port
    except ValueError:
        return None, None


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdigit() and len(text) < 6 else otherwise


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Slice(Tree):
    """discovery.k8s.io/v1: it has no spec."""

    ports: Any = None
    endpoints: Any = None


def _read(kind: str, component: str, tree: Tree, found: list[tuple[str, int]], reading: Reading) -> Read:
    meta = tree.metadata
    shown = [
        f"{host}:{port}"
        for address, port in dict.fromkeys(found[:_MOST])
        if 0 < port < 65536 and (host := bracketed(address))
    ]
    if not shown:
        return Read(meta=meta)
    facts: dict[str, Fact] = {"kubernetes_component": component, "tls_targets": joined(shown)}
    place = Place(location=location(reading.cluster, meta.namespace, kind, meta.name), facts=facts)
    return Read(meta=meta, places=(place,))


def api_server(cluster: str, url: str) -> Place:
    """The API server as its clients reach it."""
    facts: dict[str, Fact] = {"kubernetes_component": "kube-apiserver"}
    parts = urlsplit(url)
    host = bracketed(parts.hostname or "")
    if parts.scheme == "https" and host:
        facts["tls_targets"] = f"{host}:{parts.port or 443}"
    return Place(location=location(cluster, "", "apiserver", "kubernetes"), facts=facts)
