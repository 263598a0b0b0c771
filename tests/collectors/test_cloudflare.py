"""The cloudflare collector against a local server that follows the published API: paths, parameters, pages, refusals."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from certwatch.model.location import standing_of
from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import CollectError
from certwatch.plugins.testing import collect, make_ca, make_certificate
from collectors import cloudflare
from collectors.cloudflare import SERVICES, CloudflareCollector
from tests.support.rest_server import Answer, Asked, Reply, RestServer, rest_server

pytestmark = pytest.mark.anyio

ROOT = make_ca("Edge Root", key_number=170)
ORIGIN = make_certificate(names=["dns:origin.example.com"], issuer=ROOT, key_number=21)
PULL = make_certificate(names=["dns:pull.example.com"], issuer=ROOT, key_number=22)
CLIENT = make_certificate(names=["dns:device.example.com"], issuer=ROOT, key_number=23)
ACCOUNT = {"id": "acc1", "name": "Example Ltd"}

RESOURCES: dict[str, list[dict[str, Any]]] = {
    "/zones": [
        {"id": "z1", "name": "example.com", "status": "active", "account": ACCOUNT},
        {"id": "z2", "name": "example.org", "status": "active", "account": ACCOUNT},
        {"id": "z3", "name": "waiting.example", "status": "pending", "account": ACCOUNT},
    ],
    "/zones/z1/ssl/certificate_packs": [
        {
            "id": "p1",
            "type": "universal",
            "hosts": ["example.com", "*.example.com"],
            "status": "active",
            "certificate_authority": "google",
            "primary_certificate": "c2",
            "certificates": [
                {"id": "c1", "issuer": "Old", "expires_on": "2026-01-01T00:00:00Z"},
                {"id": "c2", "issuer": "GoogleTrustServices", "expires_on": "2026-12-31T00:00:00Z"},
            ],
        },
        {
            "id": "p2",
            "type": "advanced",
            "hosts": ["shop.example.com"],
            "status": "validation_timed_out",
            "validation_errors": [{"message": "SERVFAIL looking up CAA for shop.example.com"}],
        },
        {"id": "p3", "type": "legacy_custom", "hosts": ["old.example.com"], "status": "active"},
        {"id": "p4", "type": "advanced", "hosts": ["gone.example.com"], "status": "deleted"},
    ],
    "/zones/z1/custom_certificates": [
        {
            "id": "u1",
            "hosts": ["pay.example.com"],
            "issuer": "DigiCert",
            "status": "active",
            "expires_on": "2027-01-01T05:20:00Z",
            "priority": 1,
        }
    ],
    "/zones/z1/custom_hostnames": [
        {
            "id": "h1",
            "hostname": "www.customer.example",
            "custom_metadata": {"team": "saas"},
            "ssl": {"status": "pending_validation", "issuer": "", "validation_errors": []},
        },
        {"id": "h2", "hostname": "app.customer.example", "ssl": {"status": "active"}},
    ],
    "/certificates": [
        {"id": "328578533902268680", "certificate": ORIGIN.pem.decode(), "request_type": "origin-ecc"}
    ],
    "/zones/z1/origin_tls_client_auth": [
        {"id": "a1", "certificate": PULL.pem.decode(), "status": "active"},
    ],
    "/zones/z1/origin_tls_client_auth/hostnames/certificates": [],
    "/zones/z1/client_certificates": [{"id": "cc1", "certificate": CLIENT.pem.decode(), "status": "active"}],
    "/accounts/acc1/mtls_certificates": [
        {"id": "m1", "name": "devices", "ca": True, "certificates": ROOT.pem.decode()}
    ],
}
TAKES = {
    "/zones": {"page", "per_page", "status", "name"},
    "/zones/z/ssl/certificate_packs": {"page", "per_page", "status", "deploy"},
    "/zones/z/client_certificates": {"page", "per_page", "status", "limit", "offset"},
    "/certificates": {"page", "per_page", "zone_id", "limit", "offset"},
}
Settings = Callable[..., dict[str, Any]]


def api(running: RestServer) -> Answer:
    def answer(asked: Asked) -> Reply:
        if asked.headers.get("authorization") != "Bearer good":
            return refused(403, 9109, "Invalid access token")
        known = TAKES.get(re.sub(r"^/zones/[^/]+", "/zones/z", asked.path), {"page", "per_page"})
        if set(asked.query) - known or not 5 <= int(asked.query.get("per_page", 20)) <= 50:
            return refused(400, 1004, f"unknown parameters: {sorted(asked.query)}")
        if asked.path == "/certificates" and asked.query.get("zone_id") != "z1":
            return listed([], asked)
        if asked.path.startswith("/zones/z2/"):
            return listed([], asked)
        if asked.path not in RESOURCES:
            return refused(404, 7003, "Could not route")
        return listed(RESOURCES[asked.path], asked)

    return answer


def refused(status: int, code: int, message: str) -> Reply:
    return Reply(
        status=status,
        body={
            "success": False,
            "errors": [{"code": code, "message": message}],
            "messages": [],
            "result": None,
        },
    )


def listed(items: list[dict[str, Any]], asked: Asked) -> Reply:
    page, size = int(asked.query.get("page", 1)), int(asked.query.get("per_page", 20))
    part = items[(page - 1) * size : page * size]
    info = {"page": page, "per_page": size, "count": len(part), "total_count": len(items)}
    info["total_pages"] = -(-len(items) // size)
    return Reply(body={"success": True, "errors": [], "messages": [], "result": part, "result_info": info})


@pytest.fixture
def server() -> Iterator[RestServer]:
    with rest_server(api) as running:
        yield running


@pytest.fixture
def settings(server: RestServer) -> Settings:
    return lambda **more: {"endpoint": server.url, "token": "good", "rate": 10_000, "attempts": 2, **more}


async def look(settings: dict[str, Any]) -> dict[str, Observation]:
    said = await collect(CloudflareCollector, settings)
    assert not [each for each in said if isinstance(each, Incomplete)], said
    return {each.location: each for each in said if isinstance(each, Observation)}


async def test_the_edge_shows_what_is_served_and_which_renewals_fail(settings: Settings) -> None:
    found = await look(settings(services=["edge"]))
    assert set(found) == {f"cloudflare://example.com/edge/{each}" for each in ("p1", "p2", "u1")}
    universal = found["cloudflare://example.com/edge/p1"]
    assert universal.labels == {"account": "Example Ltd", "zone": "example.com"}
    assert universal.facts["in_use_by"] == "example.com"
    assert universal.facts["tls_targets"] == "example.com:443"
    assert universal.facts["renewal"] == "ok"
    assert universal.facts["cloudflare_not_after"] == "2026-12-31T00:00:00Z"
    assert universal.scope == "example.com/edge"
    assert standing_of(universal.location) == "stored"
    failing = found["cloudflare://example.com/edge/p2"]
    assert failing.facts["renewal"] == "failed"
    assert failing.facts["renewal_unvalidated"] == "shop.example.com"
    assert failing.facts["renewal_reason"] == "SERVFAIL looking up CAA for shop.example.com"
    assert failing.facts["in_use"] is False
    uploaded = found["cloudflare://example.com/edge/u1"]
    assert uploaded.facts["renewal_managed"] is False
    assert uploaded.facts["tls_targets"] == "pay.example.com:443"


async def test_certificates_behind_the_edge_are_shown_themselves(settings: Settings) -> None:
    found = await look(settings(services=["origin-ca", "origin-pulls", "mtls", "client-certificates"]))
    assert {uri: each.chain for uri, each in found.items()} == {
        "cloudflare://example.com/origin-ca/328578533902268680": (ORIGIN.der,),
        "cloudflare://example.com/origin-pulls/a1": (PULL.der,),
        "cloudflare://acc1/mtls/m1": (ROOT.der,),
        "cloudflare://example.com/client-certificates/cc1": (CLIENT.der,),
    }
    assert found["cloudflare://example.com/origin-pulls/a1"].facts["in_use_by"] == "example.com"
    assert found["cloudflare://acc1/mtls/m1"].labels == {"account": "Example Ltd"}


async def test_custom_hostnames_have_their_owner(settings: Settings) -> None:
    found = await look(settings(services=["custom-hostnames"]))
    waiting = found["cloudflare://example.com/custom-hostnames/www.customer.example"]
    assert waiting.labels["owner"] == "saas"
    assert (waiting.facts["renewal"], waiting.facts["in_use"]) == ("pending", False)
    served = found["cloudflare://example.com/custom-hostnames/app.customer.example"]
    assert served.facts["tls_targets"] == "app.customer.example:443"


async def test_listings_come_in_pages(
    server: RestServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloudflare, "PAGE", 5)
    monkeypatch.setitem(
        RESOURCES,
        "/zones/z1/custom_certificates",
        [{"id": f"u{number}", "hosts": [], "status": "active"} for number in range(12)],
    )
    found = await look(settings(services=["edge"], zones=["example.com"]))
    assert len([uri for uri in found if "/edge/u" in uri]) == 12
    assert server.paths().count("/zones/z1/custom_certificates") == 3


async def test_a_service_that_is_denied_is_one_error_and_the_rest_goes_on(
    server: RestServer, settings: Settings
) -> None:
    server.instead["/zones/z1/custom_certificates"] = refused(403, 10000, "Authentication error")
    said = await collect(CloudflareCollector, settings())
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert failed.scope == "example.com/edge"
    assert failed.error.kind == "permission"
    assert failed.error.message == (
        f"test: example.com: edge: {server.url}/zones/z1/custom_certificates: answers 403: Authentication error. "
        "Give the token that permission (docs/cloud.md), or leave it out of `services`."
    )
    assert any(each.location.endswith("/origin-pulls/a1") for each in said if isinstance(each, Observation))


@pytest.mark.parametrize(
    "body", [[], {"success": True, "result": [{"x": 1}]}, {"success": False, "errors": [{}]}]
)
async def test_an_answer_that_is_none_of_theirs_is_one_error(
    server: RestServer, settings: Settings, body: Any
) -> None:
    server.instead["/zones/z1/ssl/certificate_packs"] = Reply(body=body)
    said = await collect(CloudflareCollector, settings(services=["edge"]))
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert failed.scope == "example.com/edge"
    server.instead["/zones"] = Reply(body=body)
    with pytest.raises(CollectError):
        await collect(CloudflareCollector, settings())


async def test_throttling_is_waited_out(server: RestServer, settings: Settings) -> None:
    server.faults.append(Reply(status=429, body={}, headers={"retry-after": "0"}))
    assert await look(settings(services=["mtls"]))


async def test_zones_are_those_that_are_named(server: RestServer, settings: Settings) -> None:
    await look(settings(services=["edge"], exclude_zones=["example.com"]))
    assert not [each for each in server.paths() if each.startswith("/zones/z1/")]
    with pytest.raises(CollectError, match=r"no active zone waiting\.example"):
        await collect(CloudflareCollector, settings(zones=["waiting.example"]))


async def test_a_token_that_is_refused_fails_the_scan(settings: Settings) -> None:
    with pytest.raises(CollectError, match="Invalid access token"):
        await collect(CloudflareCollector, settings(token="bad", services=list(SERVICES)))
