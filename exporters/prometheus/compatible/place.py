"""Where a certificate is, in the parts that other exporters have labels for."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from certwatch.model.location import (
    LocationURI,
    parse_file_entry,
    parse_file_location,
    parse_tls_location,
)

PlaceKind = Literal["tls", "url", "file", "kubeconfig", "kube-secret", "kube-configmap", "kube-cabundle"]

#: Kubernetes' own names for the kinds of objects with a caBundle, by how our locations write them.
BUNDLES: Mapping[str, str] = {
    "mutatingwebhookconfiguration": "MutatingWebhookConfiguration",
    "validatingwebhookconfiguration": "ValidatingWebhookConfiguration",
    "apiservice": "APIService",
    "customresourcedefinition": "CustomResourceDefinition",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    kind: PlaceKind
    #: Of a file: its path, or its URL. Of an endpoint: the name asked for, else the address, with the port.
    path: str = ""
    #: Of a kubeconfig: "cluster" or "user", and its name there.
    embedded_kind: str = ""
    embedded_key: str = ""
    namespace: str = ""
    #: Of an object of Kubernetes: its kind as Kubernetes writes it, its name, and the key in it.
    object_kind: str = ""
    name: str = ""
    key: str = ""

    @property
    def filename(self) -> str:
        return posixpath.basename(self.path)


def place(uri: LocationURI) -> Place | None:
    """None: a place that none of them has labels for."""
    try:
        if uri.startswith("file://"):
            return _file(uri)
        if uri.startswith("url:"):
            return Place(kind="url", path=unquote(uri.removeprefix("url:").partition("#")[0]))
        if uri.startswith("k8s://"):
            return _kubernetes(uri)
        if uri.startswith("tls://"):
            endpoint = parse_tls_location(uri)
            host = endpoint.server_name or endpoint.host
            shown = f"[{host}]" if ":" in host else host
            return Place(kind="tls", path=f"{shown}:{endpoint.port}")
    except ValueError:
        pass
    return None


def _file(uri: LocationURI) -> Place:
    path, entry = parse_file_location(uri), parse_file_entry(uri)
    kind, slash, name = entry.partition("/")
    if slash and kind in ("cluster", "user"):
        return Place(kind="kubeconfig", path=path, embedded_kind=kind, embedded_key=name)
    return Place(kind="file", path=path)


def _kubernetes(uri: LocationURI) -> Place | None:
    parts = urlsplit(uri)
    _, namespace, kind, name = (unquote(each) for each in f"{parts.netloc}{parts.path}".split("/"))
    key = parse_qs(parts.query).get("key", [""])[0]
    namespace = "" if namespace == "-" else namespace
    if kind == "secret":
        return Place(kind="kube-secret", namespace=namespace, name=name, key=key)
    if kind == "configmap":
        return Place(kind="kube-configmap", namespace=namespace, name=name, key=key)
    if kind in BUNDLES:
        return Place(kind="kube-cabundle", object_kind=BUNDLES[kind], name=name, key=key)
    return None
