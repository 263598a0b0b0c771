"""Extensions of the API that tests need, as small as they can be: the fields that are read, and what goes with them."""

from typing import Any

from tests.support.kubernetes import APIServer
from tests.support.servers import wait_until

_ANY = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def fields(**properties: Any) -> dict[str, Any]:
    """An object of a schema in which anything else is an error."""
    return {"type": "object", "properties": properties}


def many(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
CONDITIONS = many(
    fields(
        type=TEXT, status=TEXT, reason=TEXT, message=TEXT, lastTransitionTime=TEXT, observedGeneration=NUMBER
    )
)
_ISSUER = fields(spec=_ANY, status=fields(conditions=CONDITIONS, acme=_ANY))
_RULE = fields(
    alert=TEXT,
    record=TEXT,
    expr={"x-kubernetes-int-or-string": True},
    labels=LABELS,
    annotations=LABELS,
    keep_firing_for=TEXT,
    **{"for": TEXT},
)
#: group, version, kind, plural, in a namespace, schema.
CRDS = (
    (
        "cert-manager.io",
        "v1",
        "Certificate",
        "certificates",
        True,
        fields(
            spec=fields(
                secretName=TEXT, dnsNames=many(TEXT), issuerRef=fields(name=TEXT, kind=TEXT, group=TEXT)
            ),
            status=fields(
                conditions=CONDITIONS,
                notAfter=TEXT,
                notBefore=TEXT,
                renewalTime=TEXT,
                lastFailureTime=TEXT,
                failedIssuanceAttempts=NUMBER,
                revision=NUMBER,
            ),
        ),
    ),
    (
        "cert-manager.io",
        "v1",
        "CertificateRequest",
        "certificaterequests",
        True,
        fields(spec=_ANY, status=fields(conditions=CONDITIONS, certificate=TEXT, ca=TEXT, failureTime=TEXT)),
    ),
    ("cert-manager.io", "v1", "Issuer", "issuers", True, _ISSUER),
    ("cert-manager.io", "v1", "ClusterIssuer", "clusterissuers", False, _ISSUER),
    (
        "trust.cert-manager.io",
        "v1alpha1",
        "Bundle",
        "bundles",
        False,
        fields(
            spec=fields(sources=many(fields(inLine=TEXT, useDefaultCAs={"type": "boolean"})), target=_ANY)
        ),
    ),
    (
        "trust-manager.io",
        "v1alpha2",
        "ClusterBundle",
        "clusterbundles",
        False,
        fields(spec=fields(inLineCAs=TEXT)),
    ),
    (
        "gateway.networking.k8s.io",
        "v1",
        "Gateway",
        "gateways",
        True,
        fields(
            spec=fields(
                gatewayClassName=TEXT,
                listeners=many(
                    fields(
                        name=TEXT,
                        hostname=TEXT,
                        port=NUMBER,
                        protocol=TEXT,
                        tls=fields(
                            mode=TEXT, certificateRefs=many(fields(name=TEXT, namespace=TEXT, kind=TEXT))
                        ),
                    )
                ),
            ),
            status=fields(addresses=many(fields(type=TEXT, value=TEXT))),
        ),
    ),
    (
        "gateway.networking.k8s.io",
        "v1",
        "HTTPRoute",
        "httproutes",
        True,
        fields(spec=fields(hostnames=many(TEXT), parentRefs=many(fields(name=TEXT, port=NUMBER)))),
    ),
    (
        "route.openshift.io",
        "v1",
        "Route",
        "routes",
        True,
        fields(
            spec=fields(
                host=TEXT,
                tls=fields(termination=TEXT, certificate=TEXT, caCertificate=TEXT, key=TEXT),
            )
        ),
    ),
    (
        "monitoring.coreos.com",
        "v1",
        "ServiceMonitor",
        "servicemonitors",
        True,
        fields(
            spec=fields(
                jobLabel=TEXT,
                selector=fields(matchLabels=LABELS),
                endpoints=many(
                    fields(
                        port=TEXT,
                        interval=TEXT,
                        scheme=TEXT,
                        honorLabels={"type": "boolean"},
                        relabelings=many(fields(sourceLabels=many(TEXT), targetLabel=TEXT)),
                    )
                ),
            )
        ),
    ),
    (
        "monitoring.coreos.com",
        "v1",
        "PrometheusRule",
        "prometheusrules",
        True,
        fields(spec=fields(groups=many(fields(name=TEXT, interval=TEXT, limit=NUMBER, rules=many(_RULE))))),
    ),
)


def install(server: APIServer) -> None:
    """All of them; waits until each is served."""
    for group, version, kind, plural, namespaced, schema in CRDS:
        server.create(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            {
                "metadata": {
                    "name": f"{plural}.{group}",
                    # Groups of Kubernetes itself want one.
                    "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
                },
                "spec": {
                    "group": group,
                    "scope": "Namespaced" if namespaced else "Cluster",
                    "names": {
                        "kind": kind,
                        "listKind": f"{kind}List",
                        "plural": plural,
                        "singular": kind.lower(),
                    },
                    "versions": [
                        {
                            "name": version,
                            "served": True,
                            "storage": True,
                            "schema": {"openAPIV3Schema": schema},
                            "subresources": {"status": {}},
                        }
                    ],
                },
            },
        )

    def served() -> bool:
        return all(server.has(f"/apis/{group}/{version}/{plural}") for group, version, _, plural, *_ in CRDS)

    wait_until(served, what="the extensions of the API", seconds=60)


def create(server: APIServer, plural: str, name: str, namespace: str = "", **parts: Any) -> str:
    """One object of an extension, its status too: its path."""
    group, version, kind, _, _, _ = next(each for each in CRDS if each[3] == plural)
    within = f"/namespaces/{namespace}" if namespace else ""
    path = f"/apis/{group}/{version}{within}/{plural}"
    status = parts.pop("status", None)
    server.create(
        path, {"apiVersion": f"{group}/{version}", "kind": kind, "metadata": {"name": name}, **parts}
    )
    if status is not None:
        server.status(f"{path}/{name}", status)
    return f"{path}/{name}"
