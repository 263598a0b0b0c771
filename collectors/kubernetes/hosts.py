"""Which host names a cluster says that it serves, from which Secret, and where: Ingresses, Gateways, routes, Services."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from certwatch.model.observation import Fact
from collectors.kubernetes.objects import Meta, Tree, annotation, at, decode, listed, string
from collectors.kubernetes.place import Place, location
from collectors.kubernetes.reading import MAX_PLACES, Read, Reading
from collectors.kubernetes.targets import ANNOTATION, is_host, targets

_HTTPS = 443
#: Ports of Services on which TLS is spoken, whatever they are called.
_TLS_PORTS = (443, 6443, 8443, 9443)
_TLS_NAMES = ("https", "tls", "wss", "grpcs", "ssl")
#: Says the names of a Service to external-dns.
_EXTERNAL_DNS = "external-dns.alpha.kubernetes.io/hostname"
#: OpenShift makes a certificate for the Service and puts it into this Secret.
_SERVING = "service.beta.openshift.io/serving-cert-secret-name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    name: str
    port: int = _HTTPS
    #: NAMESPACE/NAME of the Secret that it is to be served from. Empty: not said.
    secret: str = ""


def ingress(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    tree = decode(item, Tree)
    meta = tree.metadata
    ruled = [string(rule, "host") for rule in listed(tree.spec, "rules")]
    hosts: list[Host] = []
    for tls in listed(tree.spec, "tls"):
        secret = string(tls, "secretName")
        # Without hosts it is for all that the rules name (networking.k8s.io/v1 IngressTLS).
        named = [each for each in listed(tls, "hosts") if isinstance(each, str)] or ruled
        hosts += [Host(name=each, secret=f"{meta.namespace}/{secret}" if secret else "") for each in named]
    return Read(meta=meta, places=host_places("ingress", meta, hosts, reading, _load_balancers(tree)))


def gateway(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    """gateway.networking.k8s.io: listeners that end TLS here, or pass it on."""
    tree = decode(item, Tree)
    meta = tree.metadata
    hosts: list[Host] = []
    for listener in listed(tree.spec, "listeners"):
        if string(listener, "protocol") not in ("HTTPS", "TLS"):
            continue
        references = listed(listener, "tls", "certificateRefs")
        first = references[0] if references else None
        name = string(first, "name")
        secret = f"{string(first, 'namespace') or meta.namespace}/{name}" if name else ""
        hosts.append(Host(name=string(listener, "hostname"), port=_port(at(listener, "port")), secret=secret))
    addresses = [string(each, "value") for each in listed(tree.status, "addresses")]
    return Read(meta=meta, places=host_places("gateway", meta, hosts, reading, addresses))


def _gateway_route(kind: str) -> Any:
    def read(item: bytes | msgspec.Raw, reading: Reading) -> Read:
        """Names that a Gateway's listener leaves to its routes. Which Secret serves them, the Gateway says."""
        tree = decode(item, Tree)
        parents = listed(tree.spec, "parentRefs")
        port = _port(at(parents[0], "port")) if parents else _HTTPS
        hosts = [Host(name=each, port=port) for each in listed(tree.spec, "hostnames") if is_host(each)]
        return Read(meta=tree.metadata, places=host_places(kind, tree.metadata, hosts, reading))

    return read


http_route = _gateway_route("httproute")
grpc_route = _gateway_route("grpcroute")
tls_route = _gateway_route("tlsroute")


def service(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    """What speaks TLS by itself: at the name that the cluster gives it, and at those that external-dns does."""
    tree = decode(item, Tree)
    meta = tree.metadata
    ports = [_port(at(each, "port")) for each in listed(tree.spec, "ports") if _speaks_tls(each)]
    if not ports and not annotation(meta, ANNOTATION):
        return Read(meta=meta)
    name = annotation(meta, _SERVING)
    secret = f"{meta.namespace}/{name}" if name else ""
    ports = ports or [_HTTPS]
    inside = [Host(name=f"{meta.name}.{meta.namespace}.svc", port=each, secret=secret) for each in ports]
    outside = [
        Host(name=name.strip(), port=each, secret=secret)
        for name in annotation(meta, _EXTERNAL_DNS).split(",")
        for each in ports
    ]
    places = (
        *host_places("service", meta, inside, reading),
        *host_places("service", meta, outside, reading, _load_balancers(tree)),
    )
    return Read(meta=meta, places=places)


def _speaks_tls(port: Any) -> bool:
    if string(port, "protocol") not in ("", "TCP"):
        return False
    said = string(port, "appProtocol").rpartition("/")[2].lower() or string(port, "name").lower()
    return said.startswith(_TLS_NAMES) or (
        at(port, "port") in _TLS_PORTS and not said.startswith(("http-", "http2", "h2c"))
    )


def _port(number: Any) -> int:
    return number if isinstance(number, int) and 0 < number < 65536 else _HTTPS


def _load_balancers(tree: Tree) -> list[str]:
    """Where the cluster says that it can be reached from outside."""
    found = listed(tree.status, "loadBalancer", "ingress")
    return [said for each in found if (said := string(each, "ip") or string(each, "hostname"))]


def host_places(
    kind: str, meta: Meta, hosts: Iterable[Host], reading: Reading, addresses: Iterable[str] = ()
) -> tuple[Place, ...]:
    """One for each name and port; the first that names it says from which Secret."""
    return tuple(_places(kind, meta, _once(hosts), reading, tuple(addresses)))[:MAX_PLACES]


def _once(hosts: Iterable[Host]) -> Mapping[tuple[str, int], Host]:
    found: dict[tuple[str, int], Host] = {}
    for each in hosts:
        if is_host(each.name):
            found.setdefault((each.name, each.port), each)
    return found


def _places(
    kind: str,
    meta: Meta,
    hosts: Mapping[tuple[str, int], Host],
    reading: Reading,
    addresses: tuple[str, ...],
) -> Iterator[Place]:
    for (name, port), host in sorted(hosts.items()):
        facts: dict[str, Fact] = {"kubernetes_host": name, "kubernetes_port": port}
        if host.secret:
            facts["kubernetes_secret"] = host.secret
        at_all = targets(meta, name, port, addresses)
        if at_all:
            facts["tls_targets"] = at_all
        shown = name if port == _HTTPS else f"{name}:{port}"
        yield Place(
            location=location(reading.cluster, meta.namespace, kind, meta.name, host=shown), facts=facts
        )
