import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certwatch.inventory.shapes import entry_json, finding_json
from certwatch.inventory.store import FindingQuery, Query
from certwatch.web.api.document import document
from certwatch.web.api.operations import OPERATIONS
from certwatch.web.app import make_app
from certwatch.web.reads import Reads
from certwatch.web.site import Site
from tests.support.filled import filled_site

pytestmark = pytest.mark.anyio
API = "/api/v1"
DOCUMENT = document("1.2.3")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with filled_site(tmp_path_factory.mktemp("filled"), 60) as site:
        yield site


async def get(site: Site, path: str, params: Any = None, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(make_app(site))
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        return await http.get(path, params=params, headers=named)


def fits(operation: str, status: int, body: object) -> None:
    """The answer is as the document says."""
    (described,) = [
        each["get"] for each in DOCUMENT["paths"].values() if each["get"]["operationId"] == operation
    ]
    said = described["responses"][str(status)]
    if "$ref" in said:
        said = DOCUMENT["components"]["responses"][said["$ref"].rpartition("/")[2]]
    (content,) = said["content"].values()
    jsonschema_rs.validate({**content["schema"], "components": DOCUMENT["components"]}, body)


async def everything(site: Site, path: str, name: str, **asked: Any) -> list[Any]:
    """All pages after one another."""
    found: list[Any] = []
    cursor: Any = None
    while True:
        answer = await get(site, API + path, {**asked, **({"cursor": cursor} if cursor is not None else {})})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found += body[name]
        cursor = body["next"]
        if cursor is None:
            return found


async def test_certificates_are_those_of_the_command_line(filled: Site) -> None:
    with filled.reading(None) as reader:
        expected = json.loads(json.dumps([entry_json(each) for each in reader.list(Query(), filled.clock())]))
    assert await everything(filled, "/certificates", "certificates", limit=7) == expected


@pytest.mark.parametrize("sort", ["not_after", "not_before", "subject", "issuer", "first_seen", "locations"])
@pytest.mark.parametrize("reverse", ["true", "false"])
async def test_pages_neither_lose_nor_repeat_in_any_order(filled: Site, sort: str, reverse: str) -> None:
    found = await everything(filled, "/certificates", "certificates", limit=9, sort=sort, reverse=reverse)
    prints = [each["fingerprint_sha256"] for each in found]
    with filled.reading(None) as reader:
        query = Query(sort=sort, descending=reverse == "true")  # type: ignore[arg-type]
        expected = [each.certificate.fingerprint_sha256.hex() for each in reader.list(query, filled.clock())]
    assert prints == expected


async def test_pages_of_a_condition_are_whole(filled: Site) -> None:
    where = 'cert.subject.contains("prod")'
    found = await everything(filled, "/certificates", "certificates", limit=4, where=where)
    assert len(found) == len({each["fingerprint_sha256"] for each in found}) > 8
    assert all("prod" in each["subject"] for each in found)


async def test_what_is_asked_narrows(filled: Site) -> None:
    async def names(**asked: Any) -> set[str]:
        found = await everything(filled, "/certificates", "certificates", **asked)
        return {each["fingerprint_sha256"] for each in found}

    everyone = await names()
    expired, soon = await names(expired="true"), await names(expiring_in="30d")
    assert expired and soon and not expired & soon
    assert await names(owner="payments") < everyone
    assert await names(collector="hosts") < everyone
    assert await names(issuer="issuing ca 1") < everyone
    assert await names(q="*.staging.example.com") < everyone
    assert await names(at="2026-09-25T00:00:00Z") < everyone
    assert await names(at="2020-01-01T00:00:00Z") == set()


async def test_findings_are_those_of_the_command_line(filled: Site) -> None:
    with filled.reading(None) as reader:
        expected = [dict(finding_json(each)) for each in reader.findings(FindingQuery())]
    assert await everything(filled, "/findings", "findings", limit=11) == expected
    assert {each["owner"] for each in await everything(filled, "/findings", "findings", owner="")} == {""}
    (one,) = [await get(filled, f"{API}/findings/{expected[0]['id']}")]
    assert one.json() == expected[0]


async def test_answers_are_as_the_document_says(filled: Site) -> None:
    with filled.reading(None) as reader:
        entry = next(reader.list(Query(), filled.clock()))
    for operation in OPERATIONS:
        path = operation.path
        for name, value in (
            ("fingerprint", entry.certificate.fingerprint_sha256.hex()),
            ("uri", quote(entry.places[0].location, safe="")),
            ("id", "expiry" if "rules" in path else "1"),
        ):
            path = path.replace("{" + name + "}", value)
        answer = await get(filled, API + path)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "application/json"
        fits(operation.id, 200, answer.json())


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/certificates?limit=0", 400, "limit: Input should be greater than or equal to 1"),
        ("/certificates?limit=1_0", 400, "limit: must be a whole number"),
        ("/certificates?limit=501", 400, "limit: Input should be less than or equal to 500"),
        ("/certificates?color=red", 400, "'color' is no parameter here. Known: q, where, at"),
        ("/certificates?q=a&q=b", 400, "'q' is given twice"),
        ("/certificates?expired=true&expiring_in=1d", 400, "expired and expiring_in: choose one"),
        ("/certificates?expired=yes", 400, "expired: "),
        ("/certificates?at=yesterday", 400, "at: 'yesterday' is not a time. Write 2026-11-01"),
        ("/certificates?where=cert.colour", 400, "where: "),
        ("/certificates?expiring_in=soon", 400, "expiring_in: not a duration"),
        ("/certificates?cursor=" + "0" * 64, 410, "has been forgotten since"),
        ("/certificates/" + "0" * 64, 404, "no certificate has a fingerprint"),
        ("/certificates/xyz", 400, "a fingerprint is 64 hex digits"),
        ("/certificates/" + "0" * 64 + ".pem", 404, "no certificate has a fingerprint"),
        ("/locations/nowhere", 404, "nowhere: never seen"),
        ("/findings/0", 400, "whole number"),
        ("/findings/99999", 404, "no finding 99999"),
        ("/findings?cursor=99999", 410, "has been forgotten since"),
        ("/findings?severity=loud", 400, "severity: "),
        ("/rules/nothing", 404, "no rule is called nothing"),
        ("/status?x=1", 400, "'x' is no parameter here. Known: none"),
        ("/nothing", 404, "/api/v1/openapi.json"),
    ],
)
async def test_refusals_are_problems_in_words(filled: Site, path: str, status: int, detail: str) -> None:
    answer = await get(filled, API + path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], set(body)) == (status, {"title", "status", "detail"})
    assert detail in body["detail"]


async def test_other_methods_are_refused_as_problems(filled: Site) -> None:
    transport = httpx.ASGITransport(make_app(filled))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        answer = await http.delete(f"{API}/certificates")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_document_is_what_openapi_3_1_asks_for(filled: Site) -> None:
    answer = await get(filled, f"{API}/openapi.json")
    assert answer.json() == json.loads(json.dumps(DOCUMENT))
    assert DOCUMENT["openapi"].startswith("3.1")
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.validator_for({**schema, "components": DOCUMENT["components"]})
    again = await get(filled, f"{API}/openapi.json", if_none_match=answer.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")
    parameters = {
        each["name"]: each["schema"]
        for each in DOCUMENT["paths"]["/api/v1/certificates"]["get"]["parameters"]
    }
    assert parameters["limit"] == {"type": "integer", "minimum": 1, "maximum": 500}
    assert parameters["expired"] == {"type": "string", "enum": ["true", "false"]}


async def test_a_certificate_at_very_many_places_does_not_swell_an_answer(
    filled: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certwatch.web.api.operations.MAX_PLACES", 10)
    answer = (await get(filled, f"{API}/certificates", {"limit": 200})).json()
    assert 0 < len(answer["certificates"]) <= 10
    assert answer["next"] is not None
    found = await everything(filled, "/certificates", "certificates", limit=200)
    with filled.reading(None) as reader:
        assert len(found) == reader.counts().certificates


async def test_reading_has_a_limit_in_time(filled: Site) -> None:
    from certwatch.inventory.store import InventoryError

    reads = Reads(filled, seconds=0)
    with pytest.raises(InventoryError) as caught:
        await reads.ask(lambda reader: list(reader.list(Query(), filled.clock())))
    assert caught.value.kind == "too-long"
    # And who comes next has all the time again.
    assert await Reads(filled).ask(lambda reader: reader.counts().certificates) > 0


async def test_the_status_counts_and_names(filled: Site) -> None:
    site = replace(filled, not_ready=lambda: ["oh"], broken=lambda: ["collector cloud: no"])
    told = (await get(site, f"{API}/status")).json()
    assert (told["ready"], told["not_ready"], told["broken_plugins"]) == (
        False,
        ["oh"],
        ["collector cloud: no"],
    )
    assert told["failing_locations"] == 7
    assert sum(sum(each["open_findings"].values()) for each in told["owners"]) == sum(
        told["open_findings"].values()
    )
    scans = {each["collector"]: each for each in told["scans"]}
    assert scans["hosts"]["error"]["kind"] == "permission"
    collectors = (await get(site, f"{API}/collectors")).json()["collectors"]
    assert [each["name"] for each in collectors] == ["edge", "hosts", "cloud"]
    assert collectors[0]["next_run_at"] == (filled.clock() + timedelta(minutes=9)).isoformat().replace(
        "+00:00", "Z"
    )


async def test_a_location_with_signs_in_its_name_is_found(filled: Site) -> None:
    uri = "file:///etc/ssl/site%20one.pem#alias/<b>"
    answer = await get(filled, f"{API}/locations/{quote(uri, safe='')}")
    assert answer.json()["location"] == uri


values = st.text(max_size=80) | st.sampled_from(
    ["0", "true", "30d", "2026-11-01", "9999-12-31T23:59:59Z", "\x00", "%"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    operation=st.sampled_from(OPERATIONS),
    asked=st.dictionaries(
        st.sampled_from(sorted({name for each in OPERATIONS for name in each.asked.model_fields}))
        | st.text(max_size=5),
        values,
        max_size=4,
    ),
    tail=values,
)
async def test_whatever_is_asked_is_answered_as_described(
    filled: Site, operation: Any, asked: dict[str, str], tail: str
) -> None:
    path = operation.path
    for name in operation.path_parameters:
        path = path.replace("{" + name + "}", quote(tail, safe="") or "x")
    answer = await get(filled, API + path, asked)
    assert answer.status_code in (200, 400, 404, 410), answer.text
    if answer.status_code != 404:
        fits(operation.id, answer.status_code, answer.json())
