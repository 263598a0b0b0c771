"""Each place in which a cluster keeps certificates, written into a real kube-apiserver as its controllers write it."""

import base64
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12
from cryptography.x509.oid import NameOID

from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.testing import EPOCH, Issued, collect, make_ca, make_certificate
from certwatch.telemetry.metrics import KUBERNETES_CERTIFICATE_REQUESTS
from collectors.kubernetes import KubernetesCollector
from tests.support.kubernetes import APIServer
from tests.support.kubernetes_collector import TLS, config, following, look, tls
from tests.support.kubernetes_crds import create
from tests.support.servers import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.kubernetes,
    pytest.mark.anyio,
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("extensions"),
]

ROOT = make_ca("Mesh Root", key_number=150)
SITE = make_certificate(issuer=ROOT, key_number=51)
KEYSTORES = Path(__file__).parent.parent / "data" / "keystores"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """One loop is enough here: what is tested is what objects hold."""
    return "asyncio", {"use_uvloop": True}


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def store(passphrase: str) -> bytes:
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(50)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(passphrase.encode())
    )
    return pkcs12.serialize_key_and_certificates(
        b"site", cast("Any", SITE.key), SITE.certificate, [ROOT.certificate], encryption
    )


def request_for(issued: Issued) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "system:node:one")])
    built = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .sign(cast("Any", issued.key), hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


def crl() -> bytes:
    built = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ROOT.certificate.subject)
        .last_update(EPOCH - timedelta(hours=1))
        .next_update(EPOCH + timedelta(days=1))
        .add_extension(x509.CRLNumber(7), critical=False)
        .sign(cast("Any", ROOT.key), hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


async def seen(server: APIServer, *sources: str) -> dict[str, Observation]:
    """By the part of the URI after the cluster."""
    said = await collect(
        KubernetesCollector, {"kubeconfig": str(server.kubeconfig()), "sources": list(sources)}
    )
    assert [each for each in said if isinstance(each, Incomplete)] == []
    return {each.location.removeprefix("k8s://prod/"): each for each in said if isinstance(each, Observation)}


async def test_keystores_open_by_a_sibling_key_another_secret_or_a_file(
    server: APIServer, namespace: str, tmp_path: Path
) -> None:
    server.secret(namespace, "sibling", {"site.p12": store("one"), "password": b"one\n"})
    server.secret(namespace, "other", {"site.pfx": store("two")})
    server.secret(namespace, "passphrases", {"keystore": b"two"})
    server.secret(namespace, "file", {"keystore.jks": (KEYSTORES / "keytool.jks").read_bytes()})
    server.secret(namespace, "none", {"site.p12": store("nobody knows")})
    passphrases = [
        {"objects": ["*/sibling/*"], "key": "password"},
        {"objects": ["*/other/*"], "secret": "passphrases", "key": "keystore"},
        # The config's reader puts in what `passphrase_file` names.
        {"objects": ["*/file/*"], "passphrase": "changeit"},
    ]
    found = await look(server, namespace, passphrases=passphrases)
    opened = {place.partition("/secret/")[2]: each for place, each in found.items() if each.chain}
    assert opened["sibling?key=site.p12#site"].chain[0] == SITE.der
    assert opened["other?key=site.pfx#site"].chain[0] == SITE.der
    assert opened["sibling?key=site.p12#site"].facts["key_match"] is True
    assert {place.partition("#")[2] for place in opened if place.startswith("file?")} >= {"root", "site"}
    (closed,) = [each.error for place, each in found.items() if "/secret/none?" in place]
    assert closed is not None
    assert closed.kind == "passphrase"


async def test_config_maps_hold_text_and_bytes(server: APIServer, namespace: str) -> None:
    server.create(
        f"/api/v1/namespaces/{namespace}/configmaps",
        {
            "metadata": {"name": "trust"},
            "data": {"ca.crt": ROOT.pem.decode(), "note.txt": "none"},
            "binaryData": {"site.der": base64_of(SITE.der)},
        },
    )
    found = await look(server, namespace, sources=["configmaps"])
    assert {place.rpartition("=")[2]: each.chain[0] for place, each in found.items()} == {
        "ca.crt": ROOT.der,
        "site.der": SITE.der,
    }


async def test_cas_that_stand_in_every_namespace_are_seen_once(server: APIServer, namespace: str) -> None:
    def put(where: str, name: str, **metadata: Any) -> None:
        body = {"metadata": {"name": name, **metadata}, "data": {"ca.crt": ROOT.pem.decode()}}
        server.create(f"/api/v1/namespaces/{where}/configmaps", body)

    bundle = {"labels": {"trust.cert-manager.io/bundle": "corp"}}
    server.namespace("istio-system")
    for where in (namespace, "kube-system"):
        put(where, "kube-root-ca.crt")
    for where in (namespace, "default"):
        put(where, "corp-bundle", **bundle)
    for where in (namespace, "istio-system"):
        put(where, "istio-ca-root-cert")
    found = await seen(server, "configmaps")
    assert [place for place in found if namespace in place] == []
    assert set(found) >= {
        "kube-system/configmap/kube-root-ca.crt?key=ca.crt",
        "default/configmap/corp-bundle?key=ca.crt",
        "istio-system/configmap/istio-ca-root-cert?key=ca.crt",
    }


async def test_ca_bundles_of_webhooks_api_services_and_conversions(server: APIServer, namespace: str) -> None:
    client = {"service": {"namespace": namespace, "name": "hook"}, "caBundle": base64_of(ROOT.pem)}
    hook = {
        "name": "hook.example.com",
        "clientConfig": client,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        # Of nothing that there is: the hook's service is not there either.
        "rules": [
            {"apiGroups": ["no.example.com"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["*"]}
        ],
    }
    root = "/apis/admissionregistration.k8s.io/v1"
    for kind in ("mutating", "validating"):
        server.create(
            f"{root}/{kind}webhookconfigurations", {"metadata": {"name": namespace}, "webhooks": [hook]}
        )
    server.create(
        "/apis/apiregistration.k8s.io/v1/apiservices",
        {
            "metadata": {"name": f"v1.{namespace}.example.com"},
            "spec": {
                "group": f"{namespace}.example.com",
                "version": "v1",
                "groupPriorityMinimum": 10,
                "versionPriority": 10,
                **{"service": client["service"], "caBundle": client["caBundle"]},
            },
        },
    )
    conversion = {
        "strategy": "Webhook",
        "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": client},
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object"}},
    }
    server.create(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        {
            "metadata": {"name": f"things.{namespace}.example.com"},
            "spec": {
                "group": f"{namespace}.example.com",
                "scope": "Cluster",
                "names": {"kind": "Thing", "plural": "things", "singular": "thing", "listKind": "ThingList"},
                "versions": [version],
                "conversion": conversion,
            },
        },
    )
    found = await seen(server, "webhooks", "apiservices", "crds")
    for place in (
        f"-/mutatingwebhookconfiguration/{namespace}?key=hook.example.com",
        f"-/validatingwebhookconfiguration/{namespace}?key=hook.example.com",
        f"-/apiservice/v1.{namespace}.example.com?key=caBundle",
        f"-/customresourcedefinition/things.{namespace}.example.com?key=caBundle",
    ):
        assert found[place].chain == (ROOT.der,), place


async def test_signing_requests_are_seen_once_they_are_answered(server: APIServer, namespace: str) -> None:
    root = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    spec = {
        "request": base64_of(request_for(SITE)),
        "signerName": "example.com/own",
        "usages": ["client auth"],
    }
    for name in (f"answered-{namespace}", f"waiting-{namespace}"):
        server.create(root, {"metadata": {"name": name}, "spec": spec})
    made = server.ask("GET", f"{root}/answered-{namespace}")
    made["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": "Test"}]}
    server.ask("PUT", f"{root}/answered-{namespace}/approval", made)
    server.status(f"{root}/answered-{namespace}", {"certificate": base64_of(SITE.chain_pem)})
    found = await seen(server, "signing-requests")
    place = f"-/certificatesigningrequest/answered-{namespace}?key=status.certificate"
    assert found[place].chain == SITE.chain_der
    assert not [each for each in found if "waiting" in each]


async def test_certificates_of_pods_are_seen_where_the_server_has_them(
    server: APIServer, namespace: str
) -> None:
    root = f"/apis/certificates.k8s.io/v1/namespaces/{namespace}/podcertificaterequests"
    request = x509.load_pem_x509_csr(request_for(SITE)).public_bytes(serialization.Encoding.DER)
    created = server.create(
        root,
        {
            "metadata": {"name": "web"},
            "spec": {
                "signerName": "example.com/own",
                "podName": "web",
                "podUID": "1",
                "serviceAccountName": "web",
                "serviceAccountUID": "2",
                "nodeName": "one",
                "nodeUID": "3",
                "maxExpirationSeconds": 86400,
                "stubPKCS10Request": base64_of(request),
            },
        },
    )
    issued = make_certificate(
        issuer=ROOT,
        key_number=51,
        not_before=_instant(created),
        not_after=_instant(created) + timedelta(hours=20),
    )

    def shown(hours: int) -> str:
        return (_instant(created) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")

    created["status"] = {
        "conditions": [
            {
                "type": "Issued",
                "status": "True",
                "reason": "Test",
                "message": "",
                "lastTransitionTime": shown(0),
            }
        ],
        "certificateChain": issued.chain_pem.decode(),
        "notBefore": shown(0),
        "beginRefreshAt": shown(10),
        "notAfter": shown(20),
    }
    server.ask("PUT", f"{root}/web/status", created)
    found = await look(server, namespace, sources=["signing-requests"])
    place = f"k8s://prod/{namespace}/podcertificaterequest/web?key=status.certificateChain"
    assert found[place].chain == issued.chain_der


def _instant(made: Any) -> datetime:
    return datetime.fromisoformat(made["metadata"]["creationTimestamp"])


async def test_trust_bundles_of_the_server_and_of_trust_manager(server: APIServer, namespace: str) -> None:
    pem = ROOT.pem.decode()
    server.create(
        "/apis/certificates.k8s.io/v1/clustertrustbundles",
        {"metadata": {"name": namespace}, "spec": {"trustBundle": pem}},
    )
    sources = [{"useDefaultCAs": True}, {"inLine": pem}]
    create(server, "bundles", namespace, spec={"sources": sources})
    create(server, "clusterbundles", namespace, spec={"inLineCAs": pem})
    found = await seen(server, "trust-bundles")
    for place in (
        f"-/clustertrustbundle/{namespace}?key=trustBundle",
        f"-/bundle/{namespace}?key=sources%5B1%5D",
        f"-/clusterbundle/{namespace}?key=inLineCAs",
    ):
        assert found[place].chain == (ROOT.der,), place


async def test_a_kubeconfig_in_a_secret(server: APIServer, namespace: str) -> None:
    import yaml

    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": "https://c", "certificate-authority-data": base64_of(ROOT.pem)},
            }
        ],
        "users": [
            {
                "name": "u",
                "user": {
                    "client-certificate-data": base64_of(SITE.pem),
                    "client-key-data": base64_of(SITE.key_pem),
                },
            }
        ],
        "contexts": [],
    }
    server.secret(namespace, "admin", {"value": yaml.safe_dump(document).encode()})
    found = await look(server, namespace)
    chains = {place.partition("#")[2]: each for place, each in found.items()}
    assert {each.chain[0] for each in chains.values()} == {ROOT.der, SITE.der}
    assert [each.facts.get("key_match") for each in chains.values() if each.chain[0] == SITE.der] == [True]


async def test_roots_and_issuers_of_istio_and_linkerd(server: APIServer, namespace: str) -> None:
    issuer = make_ca("Mesh Issuer", issuer=ROOT, key_number=152)
    server.secret(
        namespace,
        "istio-ca-secret",
        {"ca-cert.pem": ROOT.pem, "ca-key.pem": ROOT.key_pem},
        type="istio.io/ca-root",
    )
    server.secret(
        namespace,
        "cacerts",
        {
            "ca-cert.pem": issuer.pem,
            "ca-key.pem": issuer.key_pem,
            "cert-chain.pem": issuer.pem + ROOT.pem,
            "root-cert.pem": ROOT.pem,
        },
    )
    server.secret(namespace, "linkerd-identity-issuer", {"crt.pem": issuer.pem, "key.pem": issuer.key_pem})
    server.create(
        f"/api/v1/namespaces/{namespace}/configmaps",
        {"metadata": {"name": "linkerd-identity-trust-roots"}, "data": {"ca-bundle.crt": ROOT.pem.decode()}},
    )
    found = await look(server, namespace, sources=["secrets", "configmaps"])
    facts = {
        place.partition(f"/{namespace}/")[2]: each.facts.get("key_match") for place, each in found.items()
    }
    assert facts == {
        "secret/istio-ca-secret?key=ca-cert.pem": None,
        "secret/cacerts?key=ca-cert.pem": True,
        "secret/cacerts?key=cert-chain.pem": True,
        "secret/cacerts?key=root-cert.pem": None,
        "secret/linkerd-identity-issuer?key=crt.pem": True,
        "configmap/linkerd-identity-trust-roots?key=ca-bundle.crt": None,
    }


async def test_crls_wherever_they_stand(server: APIServer, namespace: str) -> None:
    server.secret(namespace, "mutual", {"ca.crt": ROOT.pem + crl()})
    server.create(
        f"/api/v1/namespaces/{namespace}/configmaps",
        {"metadata": {"name": "lists"}, "data": {"ca.crl": crl().decode()}},
    )
    found = await look(server, namespace, sources=["secrets", "configmaps"])
    numbers = {
        place.partition(f"/{namespace}/")[2]: each.facts.get("crl_number") for place, each in found.items()
    }
    assert sorted(place for place, number in numbers.items() if number == "7") == [
        "configmap/lists?key=ca.crl",
        next(place for place in numbers if place.startswith("secret/mutual?key=ca.crt#")),
    ]
    assert found[f"k8s://prod/{namespace}/secret/mutual?key=ca.crt"].chain == (ROOT.der,)


async def test_what_cert_manager_says_of_its_objects(server: APIServer, namespace: str) -> None:
    ready = {"type": "Ready", "status": "True", "reason": "Ready"}
    failed = {
        "type": "Ready",
        "status": "False",
        "reason": "Failed",
        "message": "the order failed",
        "lastTransitionTime": "2026-11-01T10:00:00Z",
    }
    create(
        server,
        "certificates",
        "web",
        namespace,
        spec={"secretName": "web-tls", "issuerRef": {"name": "acme", "kind": "ClusterIssuer"}},
        status={
            "conditions": [failed],
            "renewalTime": "2026-11-20T00:00:00Z",
            "notAfter": "2026-12-20T00:00:00Z",
            "lastFailureTime": "2026-11-01T10:00:00Z",
            "failedIssuanceAttempts": 3,
        },
    )
    ca = {"ca": {"secretName": "ca"}}
    create(server, "issuers", "own", namespace, spec=ca, status={"conditions": [ready]})
    create(server, "clusterissuers", namespace)
    found = await look(server, namespace, sources=["cert-manager"])
    assert found[f"k8s://prod/{namespace}/certificate/web"].facts == {
        "kubernetes_ready": False,
        "kubernetes_reason": "Failed",
        "kubernetes_message": "the order failed",
        "kubernetes_not_ready_since": "2026-11-01T10:00:00Z",
        "kubernetes_secret": f"{namespace}/web-tls",
        "kubernetes_issuer": "ClusterIssuer/acme",
        "kubernetes_renewal_at": "2026-11-20T00:00:00Z",
        "kubernetes_not_after": "2026-12-20T00:00:00Z",
        "kubernetes_last_failure_at": "2026-11-01T10:00:00Z",
        "kubernetes_failed_attempts": 3,
    }
    assert found[f"k8s://prod/{namespace}/issuer/own"].facts["kubernetes_ready"] is True
    unready = found[f"k8s://prod/-/clusterissuer/{namespace}"].facts
    assert (unready["kubernetes_ready"], unready["kubernetes_reason"]) == (False, "no Ready condition")


async def test_requests_of_cert_manager_that_end_are_counted_once(server: APIServer, namespace: str) -> None:
    def ended(name: str, **condition: str) -> None:
        create(server, "certificaterequests", name, namespace, spec={}, status={"conditions": [condition]})

    def counts() -> list[float]:
        values = (
            KUBERNETES_CERTIFICATE_REQUESTS.labels("prod", each) for each in ("issued", "failed", "denied")
        )
        return [float(each._value.get()) for each in values]

    ended("history", type="Ready", status="True", reason="Issued")
    before = counts()
    async with following(config(server, namespace, sources=["cert-manager", "secrets"])) as it:
        marker = it.next()
        ended("issued", type="Ready", status="True", reason="Issued")
        ended("failed", type="Ready", status="False", reason="Failed")
        ended("denied", type="Denied", status="True", reason="Denied")
        server.secret(namespace, "marker", tls(SITE), type=TLS)
        seen = await marker
        assert isinstance(seen, Observation)

        async def counted() -> bool:
            return counts() == [number + 1 for number in before]

        await until(counted, what="three that ended")
        await it.scan()
        assert counts() == [number + 1 for number in before], "another look counts none again"


async def test_routes_and_gateways_say_hosts_and_secrets(server: APIServer, namespace: str) -> None:
    listeners = [
        {
            "name": "https",
            "protocol": "HTTPS",
            "port": 443,
            "hostname": "a.example.com",
            "tls": {"certificateRefs": [{"name": "a"}]},
        }
    ]
    create(server, "gateways", "g", namespace, spec={"listeners": listeners})
    create(server, "httproutes", "r", namespace, spec={"hostnames": ["b.example.com"]})
    edge = {"termination": "edge", "certificate": SITE.pem.decode()}
    create(server, "routes", "o", namespace, spec={"host": "c.example.com", "tls": edge})
    found = await look(server, namespace, sources=["gateways", "routes"])
    hosts = {
        each.facts["kubernetes_host"]: (each.facts.get("kubernetes_secret"), each.facts["tls_targets"])
        for each in found.values()
        if "kubernetes_host" in each.facts
    }
    assert hosts == {
        "a.example.com": (f"{namespace}/a", "a.example.com:443"),
        "b.example.com": (None, "b.example.com:443"),
        "c.example.com": (None, "c.example.com:443"),
    }
    assert found[f"k8s://prod/{namespace}/route/o?key=certificate"].chain == (SITE.der,)


async def test_nodes_and_the_control_plane_say_their_endpoints(server: APIServer, namespace: str) -> None:
    server.create("/api/v1/nodes", {"metadata": {"name": namespace}})
    server.status(
        f"/api/v1/nodes/{namespace}",
        {
            "addresses": [{"type": "InternalIP", "address": "192.0.2.7"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        },
    )
    container = {"name": "etcd", "image": "etcd", "command": ["etcd"]}
    server.create(
        "/api/v1/namespaces/kube-system/pods",
        {
            "metadata": {
                "name": f"etcd-{namespace}",
                "labels": {"component": "etcd", "tier": "control-plane"},
            },
            "spec": {"containers": [container], "nodeName": namespace},
        },
    )
    server.status(
        f"/api/v1/namespaces/kube-system/pods/etcd-{namespace}",
        {"hostIP": "192.0.2.7", "hostIPs": [{"ip": "192.0.2.7"}]},
    )
    server.create(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        {
            "metadata": {"name": namespace, "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": 6443}],
            "endpoints": [{"addresses": ["192.0.2.1"]}],
        },
    )
    found = await seen(server, "control-plane")
    said = {place: each.facts.get("tls_targets") for place, each in found.items()}
    expected = {
        f"-/node/{namespace}": "192.0.2.7:10250",
        f"kube-system/pod/etcd-{namespace}": "192.0.2.7:2379",
        f"default/endpointslice/{namespace}": "192.0.2.1:6443",
        "-/apiserver/kubernetes": f"127.0.0.1:{server.port}",
    }
    assert {place: said.get(place) for place in expected} == expected
