"""The fastly collector against a local server that follows the published API: paths, parameters, pages, refusals."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import CollectError
from certwatch.plugins.testing import collect
from collectors import fastly
from collectors.fastly import SERVICES, FastlyCollector
from tests.support.rest_server import Answer, Asked, Reply, RestServer, rest_server

pytestmark = pytest.mark.anyio


def resource(kind: str, id: str, attributes: dict[str, Any], **related: Any) -> dict[str, Any]:
    return {
        "id": id,
        "type": kind,
        "attributes": attributes,
        "relationships": {
            name: {"data": [ref(each) for each in value] if isinstance(value, list) else ref(value)}
            for name, value in related.items()
        },
    }


def ref(id: str) -> dict[str, str]:
    return {"id": id, "type": "x"}


DESCRIBED = {
    "name": "web",
    "issued_to": "www.example.com",
    "issuer": "Certainly",
    "serial_number": "1234",
    "not_after": "2026-12-31T00:00:00.000Z",
    "replace": False,
}
RESOURCES: dict[str, list[dict[str, Any]]] = {
    "/tls/activations": [
        resource("tls_activation", "a1", {}, tls_certificate="c1", tls_domain="www.example.com"),
        resource("tls_activation", "a2", {}, tls_certificate="c1", tls_domain="*.example.com"),
    ],
    "/tls/certificates": [
        resource("tls_certificate", "c1", DESCRIBED, tls_domains=["www.example.com", "*.example.com"]),
        resource("tls_certificate", "c2", {**DESCRIBED, "name": "old", "replace": True}, tls_domains=[]),
    ],
    "/tls/subscriptions": [
        resource(
            "tls_subscription",
            "s1",
            {"state": "issued", "certificate_authority": "certainly", "updated_at": "2026-10-01T00:00:00Z"},
            tls_domains=["shop.example.com"],
            tls_authorizations=["t1"],
        ),
        resource(
            "tls_subscription",
            "s2",
            {"state": "renewing", "certificate_authority": "certainly", "updated_at": "2026-10-30T00:00:00Z"},
            tls_domains=["pay.example.com"],
            tls_authorizations=["t2"],
        ),
    ],
    "/tls/bulk/certificates": [
        resource(
            "tls_bulk_certificate", "b1", {"not_after": "2027-01-01T00:00:00Z"}, tls_domains=["b.example.com"]
        )
    ],
}
AUTHORIZATIONS = [
    resource("tls_authorization", "t1", {"state": "passed", "challenges": []}),
    resource(
        "tls_authorization",
        "t2",
        {
            "state": "pending",
            "challenges": [{"type": "managed-dns", "record_name": "_acme-challenge.pay.example.com"}],
            "warnings": [{"type": "dns-caa-record", "instructions": "Add a CAA record for certainly.com"}],
        },
    ),
]
Settings = Callable[..., dict[str, Any]]


def api(running: RestServer) -> Answer:
    def answer(asked: Asked) -> Reply:
        if asked.headers.get("fastly-key") != "good":
            return Reply(status=401, body={"msg": "Provided credentials are missing or invalid"})
        if asked.path == "/current_customer":
            return Reply(body={"id": "cust1", "name": "Example Ltd"})
        if asked.path not in RESOURCES:
            return Reply(status=404, body={"errors": [{"title": "Not found"}]})
        known = {"page[number]", "page[size]", *(["include"] if "subscriptions" in asked.path else [])}
        size, number = int(asked.query.get("page[size]", 20)), int(asked.query.get("page[number]", 1))
        if set(asked.query) - known or size > 100:
            return Reply(
                status=400, body={"errors": [{"title": "Bad request", "detail": "unknown parameter"}]}
            )
        items = RESOURCES[asked.path]
        body: dict[str, Any] = {"data": items[(number - 1) * size : number * size], "links": {}}
        if asked.query.get("include"):
            assert asked.query["include"] == "tls_authorizations"
            body["included"] = AUTHORIZATIONS
        if number * size < len(items):
            included = f"&include={asked.query['include']}" if "include" in asked.query else ""
            body["links"]["next"] = (
                f"{running.url}{asked.path}?page%5Bnumber%5D={number + 1}&page%5Bsize%5D={size}{included}"
            )
        return Reply(body=body, headers={"content-type": "application/vnd.api+json"})

    return answer


@pytest.fixture
def server() -> Iterator[RestServer]:
    with rest_server(api) as running:
        yield running


@pytest.fixture
def settings(server: RestServer) -> Settings:
    return lambda **more: {"endpoint": server.url, "token": "good", "rate": 10_000, "attempts": 2, **more}


async def look(settings: dict[str, Any]) -> dict[str, Observation]:
    said = await collect(FastlyCollector, settings)
    assert not [each for each in said if isinstance(each, Incomplete)], said
    return {each.location: each for each in said if isinstance(each, Observation)}


async def test_certificates_show_who_uses_them(settings: Settings) -> None:
    found = await look(settings(services=["certificates"]))
    used, unused = found["fastly://cust1/certificates/c1"], found["fastly://cust1/certificates/c2"]
    assert used.labels == {"account": "Example Ltd"}
    assert used.facts["in_use_by"] == "*.example.com www.example.com"
    assert used.facts["tls_targets"] == "www.example.com:443"
    assert used.facts["fastly_not_after"] == "2026-12-31T00:00:00.000Z"
    assert used.scope == "cust1/certificates"
    assert (unused.facts["in_use"], unused.facts["fastly_replaced"]) == (False, True)


async def test_subscriptions_show_which_renewals_wait_for_what(settings: Settings) -> None:
    found = await look(settings(services=["subscriptions"]))
    fine, waiting = found["fastly://cust1/subscriptions/s1"], found["fastly://cust1/subscriptions/s2"]
    assert (fine.facts["renewal"], fine.facts["tls_targets"]) == ("ok", "shop.example.com:443")
    assert waiting.facts["renewal"] == "pending"
    assert waiting.facts["renewal_since"] == "2026-10-30T00:00:00Z"
    assert waiting.facts["renewal_unvalidated"] == "pay.example.com"
    assert waiting.facts["renewal_reason"] == "Add a CAA record for certainly.com"


async def test_platform_certificates_are_shown_if_asked_for(settings: Settings) -> None:
    found = await look(settings(services=["platform"]))
    assert found["fastly://cust1/platform/b1"].facts["in_use_by"] == "b.example.com"


async def test_listings_come_in_pages(
    server: RestServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastly, "PAGE", 1)
    assert len(await look(settings())) == 4
    assert server.paths().count("/tls/subscriptions") == 2


async def test_who_uses_them_is_unknown_and_not_nobody_when_it_cannot_be_read(
    server: RestServer, settings: Settings
) -> None:
    server.instead["/tls/activations"] = Reply(status=403, body={"msg": "You are not authorized"})
    said = await collect(FastlyCollector, settings())
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert failed.scope == "cust1/activations"
    assert "You are not authorized. Give the token's user TLS management" in failed.error.message
    seen = [each for each in said if isinstance(each, Observation)]
    assert len(seen) == 4
    assert not [each for each in seen if "/certificates/" in each.location and "in_use" in each.facts]


@pytest.mark.parametrize("service", SERVICES)
async def test_an_answer_that_is_none_of_theirs_is_one_error(
    server: RestServer, settings: Settings, service: str
) -> None:
    path = "/tls/bulk/certificates" if service == "platform" else f"/tls/{service}"
    bodies: list[Any] = [[], {"data": [1]}, {"data": [{}]}, {"data": {}, "links": [1]}]
    for body in bodies:
        server.instead[path] = Reply(body=body)
        said = await collect(FastlyCollector, settings(services=[service]))
        (failed,) = [each for each in said if isinstance(each, Incomplete)]
        assert (failed.scope, failed.error.kind) == (f"cust1/{service}", "malformed")


async def test_the_next_page_is_never_elsewhere(server: RestServer, settings: Settings) -> None:
    server.instead["/tls/subscriptions"] = Reply(
        body={"data": [], "links": {"next": "https://elsewhere.example/tls/subscriptions"}}
    )
    said = await collect(FastlyCollector, settings(services=["subscriptions"]))
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert "names a page elsewhere" in failed.error.message


async def test_a_token_that_is_refused_fails_the_scan(server: RestServer, settings: Settings) -> None:
    with pytest.raises(CollectError, match="credentials are missing or invalid"):
        await collect(FastlyCollector, settings(token="bad"))
    server.instead["/current_customer"] = Reply(body={})
    with pytest.raises(CollectError, match="does not say who"):
        await collect(FastlyCollector, settings())
