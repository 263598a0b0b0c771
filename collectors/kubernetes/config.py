"""What is configured of a cluster."""

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import cache
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from certwatch.plugins.collector import CollectorConfig

Source = Literal[
    "secrets",
    "configmaps",
    "webhooks",
    "apiservices",
    "crds",
    "signing-requests",
    "trust-bundles",
    "cert-manager",
    "ingresses",
    "gateways",
    "routes",
    "services",
    "control-plane",
]
SOURCES: tuple[Source, ...] = get_args(Source)

#: Types of Secrets that hold no certificates, and of which there are the most and the largest.
NO_CERTIFICATES = (
    "helm.sh/release.v1",
    "kubernetes.io/service-account-token",
    "bootstrap.kubernetes.io/token",
    "kubernetes.io/basic-auth",
    "kubernetes.io/ssh-auth",
    "kubernetes.io/dockercfg",
    "kubernetes.io/dockerconfigjson",
)
KEYS = (
    "*.crt",
    "*.cer",
    "*.cert",
    "*.pem",
    "*.der",
    "*.p7b",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.jceks",
    "*.keystore",
    "*.truststore",
    "*.crl",
    "*.kubeconfig",
    "ca",
    "cert",
    "certificate",
    "ca-bundle",
    "cabundle",
    "keystore",
    "truststore",
    "kubeconfig",
    "value",
)
#: The cluster's own root, put into each namespace: one of them says as much as all.
COPIES = ("kube-root-ca.crt", "openshift-service-ca.crt", "istio-ca-root-cert")


class Passphrase(BaseModel):
    """A passphrase for keystores, or where it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Globs of NAMESPACE/NAME/KEY that it is tried on.
    objects: tuple[str, ...] = ("*",)
    passphrase: SecretStr | None = None
    #: The key of the same object that holds it.
    key: str | None = None
    #: The Secret that holds it under `key`, as NAME (of the object's own namespace) or NAMESPACE/NAME.
    secret: str | None = None

    @model_validator(mode="after")
    def _one_of(self) -> "Passphrase":
        if (self.passphrase is None) == (self.key is None):
            raise ValueError("say either the passphrase itself or the key that holds it")
        if self.secret is not None and self.key is None:
            raise ValueError("secret: say the key of it that holds the passphrase as well")
        return self


class KubernetesConfig(CollectorConfig):
    #: None: the pod's own service account, where there is one; else $KUBECONFIG, else ~/.kube/config.
    kubeconfig: str | None = None
    #: None: the kubeconfig's current one.
    context: str | None = None
    #: Several clusters at once, by context; "*" is all of the kubeconfig.
    contexts: tuple[str, ...] = ()
    #: The cluster's name in locations. None: the context's; in a pod the collector's.
    cluster: str | None = Field(default=None, min_length=1)
    #: What is looked at.
    sources: tuple[Source, ...] = SOURCES
    #: Names, then each is asked for by itself; or globs, then all of the cluster are read. Empty: all.
    namespaces: tuple[str, ...] = ()
    #: Names and globs.
    exclude_namespaces: tuple[str, ...] = ()
    #: Of Secrets and ConfigMaps, as kubectl takes it; the server selects.
    label_selector: str = ""
    field_selector: str = ""
    #: Globs of Secrets' types. Empty: all but `exclude_secret_types`.
    secret_types: tuple[str, ...] = ()
    exclude_secret_types: tuple[str, ...] = NO_CERTIFICATES
    #: Globs of the keys of Secrets and ConfigMaps that are looked into; tls.crt and ca.crt are always.
    keys: tuple[str, ...] = KEYS
    #: Globs of the names of Secrets and ConfigMaps that are passed over.
    exclude_names: tuple[str, ...] = COPIES
    #: Tried on keystores and encrypted keys.
    passphrases: tuple[Passphrase, ...] = ()
    #: Labels or annotations that say who answers for an object: of itself, else of its namespace.
    owner_keys: tuple[str, ...] = ("certwatch.io/owner", "owner", "team")
    #: Labels of objects that become labels of their locations.
    object_labels: tuple[str, ...] = ()
    #: Most objects to a page; pages of large objects have fewer.
    page_size: int = Field(default=250, ge=1, le=5000)
    #: Seconds for one answer of the server to begin, and between two parts of it.
    timeout: float = Field(default=30, gt=0, le=600)

    @model_validator(mode="after")
    def _fits(self) -> "KubernetesConfig":
        if self.context is not None and self.contexts:
            raise ValueError("say either context or contexts")
        if self.cluster is not None and self.contexts:
            raise ValueError("cluster: is the name of one; with contexts each has its context's")
        return self

    @property
    def asked_namespaces(self) -> tuple[str | None, ...]:
        """Each is a list and a watch of its own. (None,): the whole cluster."""
        if self.namespaces and not any(is_glob(each) for each in self.namespaces):
            return tuple(dict.fromkeys(self.namespaces))
        return (None,)

    def wants_namespace(self, namespace: str) -> bool:
        if not namespace:
            return True
        if self.namespaces and not matches(namespace, self.namespaces):
            return False
        return not matches(namespace, self.exclude_namespaces)

    @property
    def excluded_on_the_server(self) -> tuple[str, ...]:
        """Field selectors that leave out namespaces; what is a glob is left out here."""
        return tuple(f"metadata.namespace!={each}" for each in self.exclude_namespaces if not is_glob(each))


def is_glob(text: str) -> bool:
    return any(each in text for each in "*?[")


def matches(text: str, globs: Iterable[str]) -> bool:
    """Whole, upper and lower case told apart."""
    expression = _any_of(tuple(globs))
    return expression is not None and expression.match(text) is not None


@cache
def _any_of(globs: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(translate, globs))) if globs else None
