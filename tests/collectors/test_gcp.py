"""The gcp collector against a local server that follows the published REST schemas: paths, parameters, pages, refusals."""

import json
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import CollectError
from certwatch.plugins.testing import EPOCH, collect, key, make_ca, make_certificate
from collectors.gcp import GCPCollector
from collectors.gcp.project import scope_of
from tests.support.rest_server import Answer, Asked, Reply, RestServer, paged, rest_server

pytestmark = pytest.mark.anyio

ROOT = make_ca("Google Root", key_number=150)
WEB = make_certificate(issuer=ROOT, key_number=21)
SHOP = make_certificate(names=["dns:shop.example.com"], issuer=ROOT, key_number=22)
OLD = make_certificate(
    names=["dns:old.example.com"],
    issuer=ROOT,
    not_before=EPOCH.replace(month=7),
    not_after=EPOCH.replace(month=8),
    key_number=23,
)
P = "projects/shop-prod"
COMPUTE = f"https://www.googleapis.com/compute/v1/{P}"

#: Which parameters each listing takes (the discovery documents), and under which key its items are.
LISTS: dict[str, tuple[str, set[str], int]] = {
    r"/v1/projects/[^/]+/locations/[^/]+/certificates": (
        "certificates",
        {"pageSize", "pageToken", "filter", "orderBy"},
        2,
    ),
    r"/v1/projects/[^/]+/locations/[^/]+/trustConfigs": (
        "trustConfigs",
        {"pageSize", "pageToken", "filter", "orderBy"},
        2,
    ),
    r"/v1/projects/[^/]+/locations/[^/]+/certificateMaps": (
        "certificateMaps",
        {"pageSize", "pageToken", "filter", "orderBy"},
        2,
    ),
    r"/v1/projects/[^/]+/locations/[^/]+/certificateMaps/[^/]+/certificateMapEntries": (
        "certificateMapEntries",
        {"pageSize", "pageToken", "filter", "orderBy"},
        2,
    ),
    r"/v1/projects/[^/]+/locations/[^/]+/caPools": (
        "caPools",
        {"pageSize", "pageToken", "filter", "orderBy"},
        2,
    ),
    r"/v1/projects/[^/]+/locations/[^/]+/caPools/[^/]+/certificateAuthorities": (
        "certificateAuthorities",
        {"pageSize", "pageToken", "filter", "orderBy"},
        2,
    ),
    r"/v1/projects/[^/]+/locations/[^/]+/caPools/[^/]+/certificates": (
        "certificates",
        {"pageSize", "pageToken", "filter", "orderBy"},
        2,
    ),
    r"/v3/projects:search": ("projects", {"pageSize", "pageToken", "query"}, 1),
}
AGGREGATED = r"/compute/v1/projects/[^/]+/aggregated/(\w+)"
GLOBAL = r"/compute/v1/projects/[^/]+/global/(\w+)"
COMPUTE_TAKES = {"maxResults", "pageToken", "returnPartialSuccess", "filter", "orderBy", "includeAllScopes"}

RESOURCES: dict[str, list[dict[str, Any]]] = {
    "/v3/projects:search": [{"projectId": "shop-prod"}, {"projectId": "shop-test"}],
    f"/v1/{P}/locations/-/certificates": [
        {
            "name": f"{P}/locations/global/certificates/web",
            "labels": {"owner": "payments", "environment": "prod", "other": "x"},
            "managed": {"domains": ["www.example.com"], "state": "ACTIVE"},
            "sanDnsnames": ["www.example.com"],
            "pemCertificate": WEB.chain_pem.decode(),
            "expireTime": "2026-12-31T00:00:00Z",
        },
        {
            "name": f"{P}/locations/europe-west1/certificates/shop",
            "selfManaged": {},
            "pemCertificate": SHOP.pem.decode(),
        },
        {
            "name": f"{P}/locations/global/certificates/new",
            "managed": {
                "domains": ["new.example.com"],
                "state": "PROVISIONING",
                "provisioningIssue": {"reason": "AUTHORIZATION_ISSUE", "details": "CNAME is missing"},
                "authorizationAttemptInfo": [
                    {"domain": "new.example.com", "state": "FAILED", "failureReason": "CONFIG"}
                ],
            },
        },
    ],
    f"/v1/{P}/locations/-/trustConfigs": [
        {
            "name": f"{P}/locations/global/trustConfigs/clients",
            "trustStores": [{"trustAnchors": [{"pemCertificate": ROOT.pem.decode()}]}],
        }
    ],
    f"/v1/{P}/locations/-/certificateMaps": [
        {
            "name": f"{P}/locations/global/certificateMaps/front",
            "gclbTargets": [
                {
                    "targetHttpsProxy": "//compute.googleapis.com/projects/shop-prod/global/targetHttpsProxies/front",
                    "ipConfigs": [{"ipAddress": "203.0.113.9", "ports": [443]}],
                }
            ],
        }
    ],
    f"/v1/{P}/locations/global/certificateMaps/front/certificateMapEntries": [
        {
            "name": f"{P}/locations/global/certificateMaps/front/certificateMapEntries/www",
            "hostname": "www.example.com",
            "certificates": ["projects/1234567/locations/global/certificates/web"],
        }
    ],
    f"/v1/{P}/locations/-/caPools": [
        {
            "name": f"{P}/locations/europe-west1/caPools/inside",
            "tier": "ENTERPRISE",
            "labels": {"owner": "pki"},
        },
        {"name": f"{P}/locations/europe-west1/caPools/devops", "tier": "DEVOPS"},
    ],
    f"/v1/{P}/locations/europe-west1/caPools/inside/certificateAuthorities": [
        {
            "name": f"{P}/locations/europe-west1/caPools/inside/certificateAuthorities/root",
            "type": "SELF_SIGNED",
            "state": "ENABLED",
            "pemCaCertificates": [ROOT.pem.decode()],
        }
    ],
    f"/v1/{P}/locations/europe-west1/caPools/devops/certificateAuthorities": [],
    f"/v1/{P}/locations/europe-west1/caPools/inside/certificates": [
        {
            "name": f"{P}/locations/europe-west1/caPools/inside/certificates/1",
            "pemCertificate": SHOP.pem.decode(),
            "revocationDetails": {
                "revocationState": "KEY_COMPROMISE",
                "revocationTime": "2026-10-31T00:00:00Z",
            },
        },
        {
            "name": f"{P}/locations/europe-west1/caPools/inside/certificates/2",
            "pemCertificate": OLD.pem.decode(),
        },
    ],
}
AGGREGATES: dict[str, dict[str, Any]] = {
    "sslCertificates": {
        "global": {
            "sslCertificates": [
                {
                    "name": "classic",
                    "selfLink": f"{COMPUTE}/global/sslCertificates/classic",
                    "type": "MANAGED",
                    "managed": {
                        "status": "RENEWAL_FAILED",
                        "domains": ["www.example.com"],
                        "domainStatus": {"www.example.com": "FAILED_CAA_FORBIDDEN"},
                    },
                    "certificate": WEB.chain_pem.decode(),
                }
            ]
        },
        "regions/us-east1": {"warning": {"code": "NO_RESULTS_ON_PAGE", "message": "none"}},
        "regions/europe-west1": {
            "sslCertificates": [
                {
                    "name": "regional",
                    "selfLink": f"{COMPUTE}/regions/europe-west1/sslCertificates/regional",
                    "type": "SELF_MANAGED",
                    "selfManaged": {"certificate": SHOP.pem.decode()},
                }
            ]
        },
    },
    "targetHttpsProxies": {
        "global": {
            "targetHttpsProxies": [
                {
                    "selfLink": f"{COMPUTE}/global/targetHttpsProxies/front",
                    "sslCertificates": [f"{COMPUTE}/global/sslCertificates/classic"],
                }
            ]
        }
    },
    "forwardingRules": {
        "global": {
            "forwardingRules": [
                {
                    "IPAddress": "203.0.113.10",
                    "portRange": "443-443",
                    "target": "https://compute.googleapis.com/compute/v1/projects/shop-prod/global/targetHttpsProxies/front",
                }
            ]
        }
    },
}


def google(server: RestServer) -> Answer:
    def refuse(status: int, message: str) -> Reply:
        return Reply(status=status, body={"error": {"code": status, "message": message, "status": "X"}})

    def answer(asked: Asked) -> Reply:
        if asked.path == "/token":
            return token(asked)
        if asked.headers.get("authorization") not in ("Bearer good", "Bearer fetched"):
            return refuse(401, "Request had invalid authentication credentials.")
        for pattern, (items, takes, most) in LISTS.items():
            if re.fullmatch(pattern, asked.path):
                if strange := set(asked.query) - takes:
                    return refuse(400, f"Invalid JSON payload received. Unknown name {strange}")
                if "shop-prod" not in asked.path and "search" not in asked.path:
                    return Reply(body={})
                if asked.path not in RESOURCES:
                    return refuse(404, f"{asked.path} was not found")
                page, following = paged(
                    RESOURCES[asked.path], asked, size="pageSize", token="pageToken", most=most
                )
                return Reply(body={items: page, **({"nextPageToken": following} if following else {})})
        if found := re.fullmatch(AGGREGATED, asked.path):
            if (strange := set(asked.query) - COMPUTE_TAKES) or int(asked.query["maxResults"]) > 500:
                return refuse(400, f"Invalid value for field: {strange}")
            if found[1] not in ("sslCertificates", "targetHttpsProxies", "forwardingRules"):
                return refuse(404, "not found")
            aggregate = AGGREGATES[found[1]] if "shop-prod" in asked.path else {}
            page, following = paged(
                list(aggregate.items()), asked, size="maxResults", token="pageToken", most=1
            )
            return Reply(body={"items": dict(page), **({"nextPageToken": following} if following else {})})
        if re.fullmatch(GLOBAL, asked.path):
            return Reply(body={"kind": "compute#targetSslProxyList"})
        return refuse(404, "no such method")

    def token(asked: Asked) -> Reply:
        """As oauth2.googleapis.com: the assertion must be signed by the account's key (RFC 7523)."""
        (assertion,) = parse_qs(asked.body.decode())["assertion"]
        head, body, signature = assertion.split(".")

        def plain(text: str) -> bytes:
            return urlsafe_b64decode(text + "=" * (-len(text) % 4))

        account = cast("rsa.RSAPrivateKey", key("rsa", 77))
        account.public_key().verify(
            plain(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256()
        )
        claims = json.loads(plain(body))
        assert claims["aud"] == "https://oauth2.googleapis.com/token"
        assert "cloud-platform" in claims["scope"]
        return Reply(body={"access_token": "fetched", "expires_in": 3600, "token_type": "Bearer"})

    return answer


@pytest.fixture
def server() -> Iterator[RestServer]:
    with rest_server(google) as running:
        yield running


@pytest.fixture
def settings(server: RestServer, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    (tmp_path / "token").write_text("good\n")

    def made(**more: Any) -> dict[str, Any]:
        return {
            "projects": ["shop-prod"],
            "endpoint": server.url,
            "token_file": str(tmp_path / "token"),
            "rate": 10_000,
            "attempts": 2,
            **more,
        }

    return made


Settings = Callable[..., dict[str, Any]]


async def look(settings: dict[str, Any]) -> dict[str, Observation]:
    said = await collect(GCPCollector, settings)
    assert not [each for each in said if isinstance(each, Incomplete)]
    return {each.location: each for each in said if isinstance(each, Observation)}


async def test_certificate_manager_shows_owner_use_and_where_it_is_served(settings: Settings) -> None:
    found = await look(settings(services=["certificate-manager"]))
    web = found["gcp://shop-prod/global/certificate-manager/web"]
    assert web.chain == (WEB.der,)
    assert web.labels == {
        "project": "shop-prod",
        "location": "global",
        "owner": "payments",
        "environment": "prod",
    }
    assert web.facts["in_use"] is True
    assert "targetHttpsProxies/front" in str(web.facts["in_use_by"])
    assert web.facts["tls_targets"] == "tls://203.0.113.9:443/?sni=www.example.com"
    assert web.facts["renewal"] == "ok"
    assert web.scope == "shop-prod/global/certificate-manager"
    shop = found["gcp://shop-prod/europe-west1/certificate-manager/shop"]
    assert shop.chain == (SHOP.der,)
    assert shop.facts["in_use"] is False
    new = found["gcp://shop-prod/global/certificate-manager/new"]
    assert (new.facts["renewal"], new.facts["renewal_reason"]) == (
        "failed",
        "AUTHORIZATION_ISSUE CNAME is missing",
    )
    assert new.facts["renewal_unvalidated"] == "new.example.com"
    trust = found["gcp://shop-prod/global/certificate-manager/trust-config/clients"]
    assert trust.chain == (ROOT.der,)
    assert trust.facts["arrangement"] == "bundle"


async def test_classic_certificates_show_who_uses_them(settings: Settings) -> None:
    found = await look(settings(services=["compute"]))
    classic = found["gcp://shop-prod/global/compute/classic"]
    assert classic.chain == WEB.chain_der
    assert classic.facts["in_use_by"] == "shop-prod/global/targetHttpsProxies/front"
    assert classic.facts["tls_targets"] == "203.0.113.10:443"
    assert (classic.facts["renewal"], classic.facts["renewal_reason"]) == ("failed", "FAILED_CAA_FORBIDDEN")
    regional = found["gcp://shop-prod/europe-west1/compute/regional"]
    assert regional.chain == (SHOP.der,)
    assert regional.scope == "shop-prod/europe-west1/compute"


async def test_private_cas_show_themselves_and_what_they_issued(settings: Settings) -> None:
    found = await look(settings(services=["private-ca"]))
    authority = found["gcp://shop-prod/europe-west1/private-ca/inside/root"]
    assert authority.chain == (ROOT.der,)
    assert authority.labels["owner"] == "pki"
    (record,) = [each for uri, each in found.items() if uri.startswith("cadb:")]
    assert record.chain == (SHOP.der,)
    assert record.facts["ca_status"] == "revoked"
    assert record.facts["revocation_reason"] == "keyCompromise"
    assert record.facts["revoked_at"] == "2026-10-31T00:00:00Z"
    assert scope_of(record.location) == record.scope == "shop-prod/europe-west1/private-ca/issued"


async def test_all_projects_are_looked_at_but_those_that_are_left(
    server: RestServer, settings: Settings
) -> None:
    await look(settings(projects=["*"], services=["compute"]))
    asked = {path.split("/")[4] for path in server.paths() if path.startswith("/compute")}
    assert asked == {"shop-prod", "shop-test"}
    server.asked.clear()
    await look(settings(projects=["*"], exclude_projects=["shop-test"], services=["compute"]))
    assert not [path for path in server.paths() if "shop-test" in path]


async def test_what_google_cannot_reach_makes_the_scan_partial_there_only(
    server: RestServer, settings: Settings
) -> None:
    path = f"/v1/{P}/locations/-/certificates"
    server.instead[path] = Reply(
        body={"certificates": RESOURCES[path][:1], "unreachable": [f"{P}/locations/asia-east1"]}
    )
    said = await collect(GCPCollector, settings(services=["certificate-manager"]))
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert failed.scope == "shop-prod/asia-east1/certificate-manager"
    assert failed.error.kind == "unreachable"


async def test_a_service_that_is_denied_is_one_error_and_the_rest_goes_on(
    server: RestServer, settings: Settings
) -> None:
    message = "Permission 'certificatemanager.certs.list' denied on 'projects/shop-prod/locations/-'."
    server.instead[f"/v1/{P}/locations/-/certificates"] = Reply(
        status=403, body={"error": {"code": 403, "message": message, "status": "PERMISSION_DENIED"}}
    )
    said = await collect(GCPCollector, settings())
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert failed.scope == "shop-prod/certificate-manager"
    assert failed.error.kind == "permission"
    assert "certificatemanager.certs.list" in failed.error.message
    assert len([each for each in said if isinstance(each, Observation)]) == 4


async def test_who_uses_them_is_unknown_and_not_nobody_when_it_cannot_be_read(
    server: RestServer, settings: Settings
) -> None:
    server.instead["/compute/v1/projects/shop-prod/aggregated/targetHttpsProxies"] = Reply(
        status=403, body={}
    )
    said = await collect(GCPCollector, settings(services=["compute"]))
    assert [each.scope for each in said if isinstance(each, Incomplete)] == ["shop-prod/uses/compute"]
    assert all("in_use" not in each.facts for each in said if isinstance(each, Observation))


async def test_throttling_is_waited_out(server: RestServer, settings: Settings) -> None:
    server.faults += [Reply(status=429, body={}, headers={"Retry-After": "0"})]
    began = time.monotonic()
    assert await look(settings(services=["compute"]))
    assert time.monotonic() - began < 20


async def test_a_service_account_signs_for_its_token(
    server: RestServer, settings: Settings, tmp_path: Path
) -> None:
    pem = key("rsa", 77).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "client_email": "certwatch@shop-prod.iam.gserviceaccount.com",
        "private_key": pem.decode(),
        "private_key_id": "1",
        "token_uri": f"{server.url}/token",
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    config = settings(services=["compute"], credentials_file=str(tmp_path / "account.json"), token_file=None)
    assert await look(config)
    assert server.paths().count("/token") == 1


async def test_no_credentials_fail_the_scan_and_say_what_to_do(settings: Settings) -> None:
    with pytest.raises(CollectError, match="token_file /nonexistent/token cannot be read"):
        await collect(GCPCollector, settings(token_file="/nonexistent/token"))
    with pytest.raises(CollectError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        await collect(GCPCollector, settings(token_file=None, credentials_file="/nonexistent/account.json"))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"certificates": 1}', b'{"certificates": [{}]}', b"[" * 9000]
)
async def test_an_answer_that_is_none_of_googles_is_one_error(
    server: RestServer, settings: Settings, body: bytes
) -> None:
    server.instead[f"/v1/{P}/locations/-/certificates"] = Reply(body=body)
    said = await collect(GCPCollector, settings(services=["certificate-manager"]))
    failed = [each.scope for each in said if isinstance(each, Incomplete)]
    assert failed == ["shop-prod/certificate-manager"]


async def test_a_listing_in_a_circle_is_given_up(server: RestServer, settings: Settings) -> None:
    server.instead[f"/v1/{P}/locations/-/certificates"] = Reply(body={"nextPageToken": "again"})
    said = await collect(GCPCollector, settings(services=["certificate-manager"]))
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert "names a page twice" in failed.error.message
