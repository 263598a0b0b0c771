"""The table of what is looked at: where the API has it, and who reads it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from collectors.kubernetes import cert_manager, control_plane, hosts, stored, trees
from collectors.kubernetes.config import KubernetesConfig, Source, is_glob
from collectors.kubernetes.objects import Bare, decode
from collectors.kubernetes.reading import Read, Reading

#: Blocking, of one object's JSON. Raises Unreadable.
Reader = Callable[[bytes | msgspec.Raw, Reading], Read]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    #: As the API has it: "secrets". With the group it is what a role grants.
    plural: str
    #: Empty: the core group.
    group: str = ""
    #: The first that the server has is taken.
    versions: tuple[str, ...] = ("v1",)
    namespaced: bool = True
    #: None: the namespaces themselves, which are always looked at where owners come from them.
    source: Source | None
    read: Reader
    #: Names and labels are enough: the server sends nothing else.
    metadata_only: bool = False
    #: Field selectors of its own.
    fields: Callable[[KubernetesConfig], Iterable[str]] = field(default=lambda config: ())
    #: A server that has it not is as well: it comes with an extension.
    optional: bool = False
    #: The user's selectors hold for it.
    selectable: bool = False
    #: It stands in this namespace alone, whatever namespaces are configured.
    only_in: str | None = None
    #: Label selector of its own.
    labelled: str = ""
    #: Another resource of the table reads objects of the same kind; of this one only with the whole cluster.
    part_of_all: bool = False

    @property
    def name(self) -> str:
        """As kubectl names it: "certificates.cert-manager.io"."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, version: str, namespace: str | None) -> str:
        root = f"/apis/{self.group}/{version}" if self.group else f"/api/{version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if namespace else f"{root}/{self.plural}"

    def selectors(self, config: KubernetesConfig) -> dict[str, str]:
        """Query parameters: what the server leaves out costs nobody anything."""
        fields = [*self.fields(config)]
        if self.namespaced and self.only_in is None:
            fields += config.excluded_on_the_server
        if self.selectable and config.field_selector:
            fields.append(config.field_selector)
        found = {"fieldSelector": ",".join(fields)} if fields else {}
        labelled = [self.labelled, config.label_selector if self.selectable else ""]
        if any(labelled):
            found["labelSelector"] = ",".join(each for each in labelled if each)
        return found

    def asked_in(self, config: KubernetesConfig) -> tuple[str | None, ...]:
        """Namespaces, each a list and a watch of its own. (None,): the whole cluster."""
        if self.part_of_all and config.asked_namespaces != (None,):
            return ()
        if self.only_in is not None:
            return (self.only_in,)
        return config.asked_namespaces if self.namespaced else (None,)


def _secret_fields(config: KubernetesConfig) -> Iterable[str]:
    plain = [each for each in config.secret_types if not is_glob(each)]
    if config.secret_types:
        # Selectors know no "or": of several types all Secrets are read, and told apart here.
        yield from [f"type={plain[0]}"] if len(config.secret_types) == len(plain) == 1 else []
    else:
        yield from [f"type!={each}" for each in config.exclude_secret_types if not is_glob(each)]
    yield from _names(config)


def _names(config: KubernetesConfig) -> Iterable[str]:
    return [f"metadata.name!={each}" for each in config.exclude_names if not is_glob(each)]


def _copy(namespace: str, name: str = "", *, labelled: str = "") -> "Resource":
    """CAs that stand in every namespace, read in one."""
    return Resource(
        plural="configmaps",
        source="configmaps",
        read=stored.copied,
        fields=lambda config: [f"metadata.name={name}"] if name else [],
        labelled=labelled,
        only_in=namespace,
        part_of_all=True,
    )


def _bare(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    return Read(meta=decode(item, Bare).metadata)


NAMESPACES = Resource(plural="namespaces", namespaced=False, source=None, read=_bare, metadata_only=True)
_WEBHOOKS = "admissionregistration.k8s.io"
_CERTIFICATES = "certificates.k8s.io"
_CERT_MANAGER = "cert-manager.io"
#: On what trust-manager writes into every namespace.
_TRUST_MANAGER = "trust.cert-manager.io/bundle"
_GATEWAYS = "gateway.networking.k8s.io"
RESOURCES: tuple[Resource, ...] = (
    Resource(plural="secrets", source="secrets", read=stored.secret, fields=_secret_fields, selectable=True),
    Resource(
        plural="configmaps",
        source="configmaps",
        read=stored.config_map,
        fields=_names,
        labelled=f"!{_TRUST_MANAGER}",
        selectable=True,
    ),
    _copy("default", labelled=_TRUST_MANAGER),
    _copy("kube-system", "kube-root-ca.crt"),
    _copy("istio-system", "istio-ca-root-cert"),
    Resource(
        plural="mutatingwebhookconfigurations",
        group=_WEBHOOKS,
        namespaced=False,
        source="webhooks",
        read=trees.mutating_webhooks,
    ),
    Resource(
        plural="validatingwebhookconfigurations",
        group=_WEBHOOKS,
        namespaced=False,
        source="webhooks",
        read=trees.validating_webhooks,
    ),
    Resource(
        plural="apiservices",
        group="apiregistration.k8s.io",
        namespaced=False,
        source="apiservices",
        read=trees.api_service,
    ),
    Resource(
        plural="customresourcedefinitions",
        group="apiextensions.k8s.io",
        namespaced=False,
        source="crds",
        read=trees.crd,
    ),
    Resource(
        plural="certificatesigningrequests",
        group=_CERTIFICATES,
        namespaced=False,
        source="signing-requests",
        read=trees.signing_request,
    ),
    Resource(
        plural="podcertificaterequests",
        optional=True,
        group=_CERTIFICATES,
        versions=("v1", "v1beta1", "v1alpha1"),
        source="signing-requests",
        read=trees.pod_request,
    ),
    Resource(
        plural="clustertrustbundles",
        optional=True,
        group=_CERTIFICATES,
        versions=("v1", "v1beta1", "v1alpha1"),
        namespaced=False,
        source="trust-bundles",
        read=trees.cluster_trust_bundle,
    ),
    Resource(
        plural="bundles",
        optional=True,
        group="trust.cert-manager.io",
        versions=("v1alpha1",),
        namespaced=False,
        source="trust-bundles",
        read=trees.trust_manager_bundle,
    ),
    Resource(
        plural="clusterbundles",
        optional=True,
        group="trust-manager.io",
        versions=("v1alpha2",),
        namespaced=False,
        source="trust-bundles",
        read=trees.cluster_bundle,
    ),
    Resource(
        plural="certificates",
        optional=True,
        group=_CERT_MANAGER,
        source="cert-manager",
        read=cert_manager.certificate,
    ),
    Resource(
        plural="certificaterequests",
        optional=True,
        group=_CERT_MANAGER,
        source="cert-manager",
        read=cert_manager.request,
    ),
    Resource(
        plural="issuers", optional=True, group=_CERT_MANAGER, source="cert-manager", read=cert_manager.issuer
    ),
    Resource(
        plural="clusterissuers",
        optional=True,
        group=_CERT_MANAGER,
        namespaced=False,
        source="cert-manager",
        read=cert_manager.cluster_issuer,
    ),
    Resource(plural="ingresses", group="networking.k8s.io", source="ingresses", read=hosts.ingress),
    Resource(
        plural="gateways",
        optional=True,
        group=_GATEWAYS,
        versions=("v1", "v1beta1"),
        source="gateways",
        read=hosts.gateway,
    ),
    Resource(
        plural="httproutes",
        optional=True,
        group=_GATEWAYS,
        versions=("v1", "v1beta1"),
        source="gateways",
        read=hosts.http_route,
    ),
    Resource(plural="grpcroutes", optional=True, group=_GATEWAYS, source="gateways", read=hosts.grpc_route),
    Resource(
        plural="tlsroutes",
        optional=True,
        group=_GATEWAYS,
        versions=("v1", "v1alpha3", "v1alpha2"),
        source="gateways",
        read=hosts.tls_route,
    ),
    Resource(plural="routes", optional=True, group="route.openshift.io", source="routes", read=trees.route),
    Resource(plural="services", source="services", read=hosts.service),
    Resource(plural="nodes", namespaced=False, source="control-plane", read=control_plane.node),
    Resource(
        plural="endpointslices",
        group="discovery.k8s.io",
        source="control-plane",
        read=control_plane.api_servers,
        only_in="default",
        labelled="kubernetes.io/service-name=kubernetes",
    ),
    Resource(
        plural="pods",
        source="control-plane",
        read=control_plane.pod,
        only_in="kube-system",
        labelled="tier=control-plane",
    ),
)


def watches(config: KubernetesConfig) -> int:
    """How many there are in one cluster, that of the namespaces included."""
    asked = [each.asked_in(config) for each in RESOURCES if each.source in config.sources]
    return 1 + sum(map(len, asked))
