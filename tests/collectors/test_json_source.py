"""The json collector against a server on loopback: pages, paths, hostile answers."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from certwatch.model.location import standing_of
from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import CollectError, CollectorContext
from certwatch.plugins.testing import FakeClock, collect, make_ca, make_certificate
from collectors import json_source, stored_value
from collectors.json_source import JSONCollector, JSONConfig
from tests.support.rest_server import Answer, Asked, Reply, RestServer, rest_server

pytestmark = pytest.mark.anyio

ROOT = make_ca("Partner Root", key_number=160)
WEB = make_certificate(issuer=ROOT, key_number=21)
SHOP = make_certificate(names=["dns:shop.example.com"], issuer=ROOT, key_number=22)

LISTED: dict[str, Any] = {
    "data": {
        "certificates": [
            {
                "name": "web",
                "team": "payments",
                "hosts": ["www.example.com", "www.example.com:8443", "*.example.com"],
                "pem": WEB.pem.decode(),
                "chain": [ROOT.pem.decode()],
            },
            {"name": "shop/eu", "team": None, "pem": base64.b64encode(SHOP.der).decode()},
        ]
    }
}
PATHS: dict[str, Any] = {
    "entries": "$.data.certificates[*]",
    "certificate": "$['pem','chain']",
    "id": "$.name",
    "labels_from": {"owner": "$.team"},
    "targets": "$.hosts[*]",
}


@pytest.fixture
def server() -> Iterator[RestServer]:
    def api(running: RestServer) -> Answer:
        def answer(asked: Asked) -> Reply:
            return Reply(status=404, body={"message": "Not Found"})

        return answer

    with rest_server(api) as running:
        yield running


Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(server: RestServer) -> Settings:
    return lambda **more: {
        "url": f"{server.url}/certificates",
        "rate": 10_000,
        "attempts": 2,
        **PATHS,
        **more,
    }


async def seen(settings: dict[str, Any]) -> dict[str, Observation]:
    said = await collect(JSONCollector, settings)
    assert not [each for each in said if isinstance(each, Incomplete)], said
    return {each.location: each for each in said if isinstance(each, Observation)}


async def test_each_entry_is_a_location_with_its_chain_owner_and_targets(
    server: RestServer, settings: Settings
) -> None:
    server.instead["/certificates"] = Reply(body=LISTED)
    found = await seen(settings())
    assert set(found) == {"json://test/web", "json://test/shop%2Feu"}
    web, shop = found["json://test/web"], found["json://test/shop%2Feu"]
    assert web.chain == (WEB.der, ROOT.der)
    assert web.labels == {"owner": "payments"}
    assert web.facts == {"tls_targets": "www.example.com:443 www.example.com:8443"}
    assert shop.chain == (SHOP.der,)
    assert (shop.labels, shop.facts) == ({}, {})
    assert standing_of(web.location) == "stored"


async def test_without_an_id_the_certificate_tells_entries_apart(
    server: RestServer, settings: Settings
) -> None:
    server.instead["/certificates"] = Reply(body=[WEB.pem.decode()])
    found = await seen(settings(entries="$[*]", certificate="$", id=None, labels_from={}, targets=None))
    (only,) = found.values()
    assert only.chain == (WEB.der,)
    assert only.location.startswith("json://test/")


@pytest.mark.parametrize("by", ["link", "url", "parameter"])
async def test_pages_are_followed(server: RestServer, settings: Settings, by: str) -> None:
    pages: list[dict[str, Any]] = [
        {"data": {"certificates": [each]}, "next": None} for each in LISTED["data"]["certificates"]
    ]
    headers: dict[str, str] = {}
    more: dict[str, Any] = {}
    if by == "link":
        headers = {"link": '</two>; rel="next", </one>; rel="prev"'}
    elif by == "url":
        pages[0]["next"], more = "/two?page=2", {"next": "$.next"}
    else:
        pages[0]["next"], more = "c2", {"next": "$.next", "next_parameter": "cursor"}
    if by == "parameter":
        server.faults += [Reply(body=page) for page in pages]
    else:
        server.instead["/certificates"] = Reply(body=pages[0], headers=headers)
        server.instead["/two"] = Reply(body=pages[1])
    assert len(await seen(settings(**more))) == 2
    if by == "parameter":
        assert [each.query.get("cursor") for each in server.asked] == [None, "c2"]


async def test_a_second_page_that_fails_makes_the_scan_partial(
    server: RestServer, settings: Settings
) -> None:
    server.instead["/certificates"] = Reply(body=LISTED, headers={"link": '</two>; rel="next"'})
    server.instead["/two"] = Reply(status=403, body={"message": "no"})
    said = await collect(JSONCollector, settings())
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert failed.scope == ""
    assert failed.error.kind == "permission"
    assert failed.error.message == f"test: {server.url}/two: answers 403: no."


@pytest.mark.parametrize("link", ["https://elsewhere.example/two", "//elsewhere.example/two", "http://[::1"])
async def test_a_token_goes_nowhere_else(server: RestServer, settings: Settings, link: str) -> None:
    server.instead["/certificates"] = Reply(body={**LISTED, "next": link})
    said = await collect(JSONCollector, settings(next="$.next", token="t0p"))
    assert [each for each in said if isinstance(each, Incomplete)]
    assert {each.path for each in server.asked} == {"/certificates"}
    assert server.asked[0].headers["authorization"] == "Bearer t0p"


async def test_pages_in_a_circle_are_given_up(server: RestServer, settings: Settings) -> None:
    server.instead["/certificates"] = Reply(body={**LISTED, "next": "/certificates"})
    said = await collect(JSONCollector, settings(next="$.next"))
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert "names a page twice" in failed.error.message


async def test_credentials_are_sent_as_the_service_wants_them(server: RestServer, settings: Settings) -> None:
    server.instead["/certificates"] = Reply(body=LISTED)
    await seen(settings(token="k", token_header="X-Api-Key"))
    await seen(settings(username="u", password="p"))
    assert server.asked[0].headers["x-api-key"] == "k"
    assert "authorization" not in server.asked[0].headers
    assert server.asked[1].headers["authorization"] == "Basic " + base64.b64encode(b"u:p").decode()


async def test_an_entry_that_cannot_be_read_is_its_own_error(server: RestServer, settings: Settings) -> None:
    server.instead["/certificates"] = Reply(
        body={
            "data": {
                "certificates": [
                    {"name": "bad", "pem": "no certificate"},
                    {"name": "none"},
                    {"pem": WEB.pem.decode()},
                    *LISTED["data"]["certificates"],
                    {"name": "web", "pem": SHOP.pem.decode()},
                ]
            }
        }
    )
    found = await seen(settings())
    errors = {uri: each.error for uri, each in found.items() if each.error is not None}
    assert {uri: error.kind for uri, error in errors.items()} == {
        "json://test/bad": "malformed",
        "json://test/none": "no-certificate",
        "json://test/%233": "malformed",
        "json://test/%236": "malformed",
    }
    assert errors[next(uri for uri in found if uri.endswith("/bad"))].message == (
        "test: entry bad: $['pem','chain'] is neither PEM nor base64 of DER"
    )
    assert found[next(uri for uri in found if uri.endswith("/web"))].chain == (WEB.der, ROOT.der)


async def test_an_answer_without_the_list_is_no_empty_list(server: RestServer, settings: Settings) -> None:
    """An API that changed its form would retire everything."""
    server.instead["/certificates"] = Reply(body={"items": []})
    with pytest.raises(CollectError, match=r"has nothing at \$\.data\.certificates"):
        await collect(JSONCollector, settings())
    server.instead["/certificates"] = Reply(body={"data": {"certificates": []}})
    assert await seen(settings()) == {}


async def test_what_is_no_json_fails_the_scan(server: RestServer, settings: Settings) -> None:
    server.instead["/certificates"] = Reply(body=b"<html>")
    with pytest.raises(CollectError, match="answers no JSON"):
        await collect(JSONCollector, settings())


async def test_a_listing_without_end_is_given_up(
    server: RestServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_source, "MOST_ENTRIES", 1000)
    server.instead["/certificates"] = Reply(body={"data": {"certificates": list(range(1700))}})
    said = await collect(JSONCollector, settings())
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert "more than 1000 entries" in failed.error.message
    assert len(said) == 1001


async def test_throttling_is_waited_out(server: RestServer, settings: Settings) -> None:
    server.instead["/certificates"] = Reply(body=LISTED)
    server.faults.append(Reply(status=429, body={}, headers={"retry-after": "0"}))
    assert len(await seen(settings())) == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"certificate": "$.["}, "is no JSONPath"),
        ({"url": "ftp://x/"}, "only http"),
        ({"url": "http://inventory.example/", "token": "t"}, "write https://"),
        ({"token": "t", "username": "u", "password": "p"}, "either token or username"),
        ({"next_parameter": "page"}, "belongs to next"),
    ],
)
def test_a_config_that_cannot_work_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        JSONConfig.model_validate({"url": "https://x.example/", "certificate": "$.pem", **more})


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just(WEB.pem.decode()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["data", "certificates", "pem", "name", "team", "hosts"]), inner)
    ),
    max_leaves=20,
)


@given(TREES)
def test_any_json_becomes_observations_or_one_error(tree: Any) -> None:
    config = JSONConfig.model_validate({"url": "https://x.example/", **PATHS, "entries": "$..[*]"})
    collector = JSONCollector("test", config, CollectorContext(clock=FakeClock()))
    for each in collector._observed(tree, 0):
        assert each.error is None or each.error.message.isprintable()
        assert each.location.isascii()


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda it: base64.b64encode(it).decode()))
def test_any_text_holds_certificates_or_none(text: str) -> None:
    assert isinstance(stored_value.chain(text), tuple)


@pytest.mark.parametrize(
    "text",
    [
        WEB.pem.decode(),
        WEB.pem.decode().replace("\n", "\\n"),
        base64.b64encode(WEB.der).decode(),
        base64.urlsafe_b64encode(WEB.der).decode().rstrip("="),
        base64.b64encode(WEB.pem).decode(),
        base64.encodebytes(WEB.der).decode(),
    ],
)
def test_certificates_are_read_however_they_are_written(text: str) -> None:
    assert stored_value.chain(text) == (WEB.der,)
