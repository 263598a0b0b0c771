"""How the API names what locations name: `k8s://prod/pay/secret/web` is a Secret of v1, listed as secrets."""

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Kind:
    #: As in `kind:`.
    name: str
    #: As in `apiVersion:`.
    version: str
    #: As in paths.
    plural: str

    def path(self, namespace: str) -> str:
        root = f"/apis/{self.version}" if "/" in self.version else f"/api/{self.version}"
        inside = quote(namespace, safe="")
        return f"{root}/namespaces/{inside}/{self.plural}" if namespace else f"{root}/{self.plural}"


_WEBHOOKS = "admissionregistration.k8s.io/v1"
_CERT_MANAGER = "cert-manager.io/v1"
_GATEWAYS = "gateway.networking.k8s.io/v1"
#: By the word in a location's URI. What is not here (an API server) is no object.
KINDS = {
    "secret": Kind("Secret", "v1", "secrets"),
    "configmap": Kind("ConfigMap", "v1", "configmaps"),
    "mutatingwebhookconfiguration": Kind(
        "MutatingWebhookConfiguration", _WEBHOOKS, "mutatingwebhookconfigurations"
    ),
    "validatingwebhookconfiguration": Kind(
        "ValidatingWebhookConfiguration", _WEBHOOKS, "validatingwebhookconfigurations"
    ),
    "apiservice": Kind("APIService", "apiregistration.k8s.io/v1", "apiservices"),
    "customresourcedefinition": Kind(
        "CustomResourceDefinition", "apiextensions.k8s.io/v1", "customresourcedefinitions"
    ),
    "certificatesigningrequest": Kind(
        "CertificateSigningRequest", "certificates.k8s.io/v1", "certificatesigningrequests"
    ),
    "bundle": Kind("Bundle", "trust.cert-manager.io/v1alpha1", "bundles"),
    "clusterbundle": Kind("ClusterBundle", "trust-manager.io/v1alpha2", "clusterbundles"),
    "clustertrustbundle": Kind("ClusterTrustBundle", "certificates.k8s.io/v1", "clustertrustbundles"),
    "certificate": Kind("Certificate", _CERT_MANAGER, "certificates"),
    "issuer": Kind("Issuer", _CERT_MANAGER, "issuers"),
    "clusterissuer": Kind("ClusterIssuer", _CERT_MANAGER, "clusterissuers"),
    "ingress": Kind("Ingress", "networking.k8s.io/v1", "ingresses"),
    "gateway": Kind("Gateway", _GATEWAYS, "gateways"),
    "route": Kind("Route", "route.openshift.io/v1", "routes"),
}
