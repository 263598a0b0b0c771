"""Small objects of many shapes: caBundles, signing requests, trust bundles, OpenShift's routes."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from collectors.file.contents import failed
from collectors.kubernetes.hosts import Host, host_places
from collectors.kubernetes.objects import Meta, Tree, Unreadable, at, decode, from_base64, listed, string
from collectors.kubernetes.place import Place
from collectors.kubernetes.reading import MAX_PLACES, Read, Reading


def _read(
    kind: str, parts: Callable[[Tree], Iterator[tuple[str, str, bool]]]
) -> Callable[[bytes | msgspec.Raw, Reading], Read]:
    """`parts` gives name, value, and whether that is base64 of PEM."""

    def read(item: bytes | msgspec.Raw, reading: Reading) -> Read:
        tree = decode(item, Tree)
        places: list[Place] = []
        for name, value, encoded in parts(tree):
            try:
                data = from_base64(value) if encoded else value.encode("utf-8", "surrogatepass")
            except Unreadable as error:
                where = reading.where(kind, tree.metadata, name)
                part = failed("malformed", f"{where}: {error}. Check what wrote it")
                places.append(reading.place(kind, tree.metadata, name, part))
                continue
            places += reading.bundle(kind, tree.metadata, name, data)
            if len(places) >= MAX_PLACES:
                break
        return Read(meta=tree.metadata, places=tuple(places[:MAX_PLACES]))

    return read


def _of_webhooks(tree: Tree) -> Iterator[tuple[str, str, bool]]:
    hooks = tree.webhooks if isinstance(tree.webhooks, list) else []
    for hook in hooks:
        value = string(hook, "clientConfig", "caBundle")
        if value:
            yield string(hook, "name"), value, True


def _of_spec(*path: str) -> Callable[[Tree], Iterator[tuple[str, str, bool]]]:
    def parts(tree: Tree) -> Iterator[tuple[str, str, bool]]:
        value = string(tree.spec, *path)
        if value:
            yield "caBundle", value, True

    return parts


def _of_cluster_trust_bundle(tree: Tree) -> Iterator[tuple[str, str, bool]]:
    value = string(tree.spec, "trustBundle")
    if value:
        yield "trustBundle", value, False


def _of_trust_manager(tree: Tree) -> Iterator[tuple[str, str, bool]]:
    """What stands in the Bundle itself; what it takes from elsewhere is seen there."""
    for number, source in enumerate(listed(tree.spec, "sources")):
        value = string(source, "inLine")
        if value:
            yield f"sources[{number}]", value, False


def _of_cluster_bundle(tree: Tree) -> Iterator[tuple[str, str, bool]]:
    """trust-manager.io/v1alpha2, which follows it."""
    value = string(tree.spec, "inLineCAs")
    if value:
        yield "inLineCAs", value, False


def _of_route(tree: Tree) -> Iterator[tuple[str, str, bool]]:
    for name in ("certificate", "caCertificate", "destinationCACertificate"):
        value = string(tree.spec, "tls", name)
        if value:
            yield name, value, False


def _presented(
    kind: str, name: str, value_of: Callable[[Tree], bytes]
) -> Callable[[bytes | msgspec.Raw, Reading], Read]:
    """An object that has been given a certificate, once it has."""

    def read(item: bytes | msgspec.Raw, reading: Reading) -> Read:
        tree = decode(item, Tree)
        meta = tree.metadata
        try:
            data = value_of(tree)
        except Unreadable as error:
            part = failed("malformed", f"{reading.where(kind, meta, name)}: {error}. Check what wrote it")
            return Read(meta=meta, places=(reading.place(kind, meta, name, part),))
        if not data:
            return Read(meta=meta)
        return Read(meta=meta, places=tuple(reading.places(kind, meta, name, data)))

    return read


def _signed(tree: Tree) -> bytes:
    return from_base64(string(tree.status, "certificate"))


def _pod_chain(tree: Tree) -> bytes:
    return string(tree.status, "certificateChain").encode("utf-8", "surrogatepass")


mutating_webhooks = _read("mutatingwebhookconfiguration", _of_webhooks)
validating_webhooks = _read("validatingwebhookconfiguration", _of_webhooks)
api_service = _read("apiservice", _of_spec("caBundle"))
crd = _read("customresourcedefinition", _of_spec("conversion", "webhook", "clientConfig", "caBundle"))
cluster_trust_bundle = _read("clustertrustbundle", _of_cluster_trust_bundle)
trust_manager_bundle = _read("bundle", _of_trust_manager)
cluster_bundle = _read("clusterbundle", _of_cluster_bundle)
signing_request = _presented("certificatesigningrequest", "status.certificate", _signed)
pod_request = _presented("podcertificaterequest", "status.certificateChain", _pod_chain)
_route_certificates = _read("route", _of_route)


def meta_of(item: bytes | msgspec.Raw) -> Meta:
    return decode(item, Tree).metadata


def route(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    """OpenShift: the certificates that stand in it, and its host."""
    read = _route_certificates(item, reading)
    tree = decode(item, Tree)
    host = string(tree.spec, "host")
    hosts = [Host(name=host)] if host and at(tree.spec, "tls") is not None else []
    return Read(meta=read.meta, places=(*read.places, *host_places("route", read.meta, hosts, reading)))


def ready(conditions: Any, kind: str = "Ready") -> Any:
    """The condition of that type. None: it is not there."""
    found = conditions if isinstance(conditions, list) else []
    return next((each for each in found if string(each, "type") == kind), None)
