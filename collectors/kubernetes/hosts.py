"""Which host names a cluster says that it serves, and from which Secret: Ingresses, Gateways, routes."""

from collections.abc import Iterable, Mapping

import msgspec

from certwatch.model.observation import Fact
from collectors.kubernetes.objects import Meta, Tree, at, decode, listed, string
from collectors.kubernetes.place import Place, location
from collectors.kubernetes.reading import MAX_PLACES, Read, Reading

#: Of a DNS name.
_LONGEST = 253


def ingress(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    tree = decode(item, Tree)
    meta = tree.metadata
    ruled = [string(rule, "host") for rule in listed(tree.spec, "rules")]
    hosts: dict[str, str] = {}
    for tls in listed(tree.spec, "tls"):
        secret = string(tls, "secretName")
        # Without hosts it is for all that the rules name (networking.k8s.io/v1 IngressTLS).
        named = [each for each in listed(tls, "hosts") if isinstance(each, str)] or ruled
        for host in named:
            hosts.setdefault(host, f"{meta.namespace}/{secret}" if secret else "")
    return Read(meta=meta, places=host_places("ingress", meta, hosts, reading))


def gateway(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    """gateway.networking.k8s.io: listeners that end TLS here, or pass it on."""
    tree = decode(item, Tree)
    meta = tree.metadata
    hosts: dict[str, str] = {}
    ports: dict[str, int] = {}
    for listener in listed(tree.spec, "listeners"):
        host, port = string(listener, "hostname"), at(listener, "port")
        if string(listener, "protocol") not in ("HTTPS", "TLS") or not host:
            continue
        references = listed(listener, "tls", "certificateRefs")
        first = references[0] if references else None
        name = string(first, "name")
        secret = f"{string(first, 'namespace') or meta.namespace}/{name}" if name else ""
        hosts.setdefault(host, secret)
        if isinstance(port, int) and 0 < port < 65536:
            ports.setdefault(host, port)
    return Read(meta=meta, places=host_places("gateway", meta, hosts, reading, ports))


def host_places(
    kind: str, meta: Meta, hosts: Mapping[str, str], reading: Reading, ports: Mapping[str, int] | None = None
) -> tuple[Place, ...]:
    """`hosts`: each with the Secret that it is to be served from, NAMESPACE/NAME; empty: not said."""
    return tuple(_places(kind, meta, hosts, reading, ports or {}))[:MAX_PLACES]


def _places(
    kind: str, meta: Meta, hosts: Mapping[str, str], reading: Reading, ports: Mapping[str, int]
) -> Iterable[Place]:
    for host in sorted(hosts):
        if not host or len(host) > _LONGEST or not host.isprintable():
            continue
        facts: dict[str, Fact] = {"kubernetes_host": host, "kubernetes_port": ports.get(host, 443)}
        if hosts[host]:
            facts["kubernetes_secret"] = hosts[host]
        yield Place(
            location=location(reading.cluster, meta.namespace, kind, meta.name, host=host), facts=facts
        )
