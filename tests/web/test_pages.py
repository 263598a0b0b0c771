import gzip
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from ssl import PEM_cert_to_DER_cert
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certwatch.inventory.store import Query
from certwatch.plugins.testing import EPOCH, make_certificate
from certwatch.web.app import make_app
from certwatch.web.render import certificate_path, location_path, render, spent, urgency
from certwatch.web.site import Site
from certwatch.x509.der import read
from tests.support.filled import HOSTILE, filled_site
from tests.web.html_check import faults, page_of

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with filled_site(tmp_path_factory.mktemp("filled"), 120) as site:
        yield site


async def get(site: Site, path: str, **params: Any) -> httpx.Response:
    transport = httpx.ASGITransport(make_app(site))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        return await http.get(path, params=params or None)


def paths(site: Site) -> dict[str, str]:
    """Every kind of page, by name."""
    with site.reading(None) as reader:
        entry = next(reader.list(Query(text="www-00001.*", sort="first_seen"), site.clock()), None)
        entry = entry or next(reader.list(Query(expires_after=EPOCH + timedelta(days=5)), site.clock()))
    return {
        "overview": "/",
        "certificates": "/certificates",
        "filtered": "/certificates?q=example.com&state=30d&sort=-not_before&owner=payments&issuer=Issuing",
        "nothing found": "/certificates?q=nowhere.invalid",
        "not asked well": "/certificates?where=%3C",
        "certificate": certificate_path(entry.certificate.fingerprint_sha256),
        "location": location_path(entry.places[0].location),
        "failing location": location_path("tls://db-1.example.com:5432/?protocol=postgres"),
        "file location": location_path("file:///etc/ssl/site%20one.pem#alias/<b>"),
        "findings": "/findings",
        "filtered findings": "/findings?severity=ticket&rule=expiry&unowned=yes&all=yes",
        "finding": "/findings/1",
        "rules": "/rules",
        "rule": "/rules/expiry",
        "collectors": "/collectors",
        "missing certificate": "/certificates/" + "0" * 64,
        "missing location": "/locations/x",
        "missing finding": "/findings/999999",
        "missing rule": "/rules/nothing",
    }


STATUSES = {"not asked well": 400, **dict.fromkeys(["missing certificate", "missing location", "missing finding", "missing rule"], 404)}  # fmt: skip


async def test_every_page_is_sound_and_can_be_used_by_all(filled: Site) -> None:
    for name, path in paths(filled).items():
        answer = await get(filled, path)
        assert answer.status_code == STATUSES.get(name, 200), name
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert faults(answer.text) == [], name


async def test_pages_may_load_and_run_nothing(filled: Site) -> None:
    answer = await get(filled, "/")
    policy = dict(each.strip().split(" ", 1) for each in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == policy["img-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


async def test_what_strangers_wrote_is_shown_and_does_nothing(filled: Site) -> None:
    with filled.reading(None) as reader:
        hostile = list(reader.list(Query(expires_after=EPOCH, limit=len(HOSTILE)), filled.clock()))
    pages = ["/", "/certificates", "/findings"]
    pages += [certificate_path(each.certificate.fingerprint_sha256) for each in hostile]
    pages += [location_path(each.places[0].location) for each in hostile]
    for path in pages:
        text = (await get(filled, path)).text
        assert faults(text) == [], path
        assert not any(ord(each) < 32 and each != "\n" for each in text), path
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", text), path
        assert "49${7*7}" not in text
    assert "&lt;script&gt;alert" in (await get(filled, "/")).text


async def test_long_names_are_cut_and_whole_behind_a_disclosure(filled: Site) -> None:
    with filled.reading(None) as reader:
        entry = next(
            each
            for each in reader.list(Query(), filled.clock())
            if each.certificate.names and len(each.certificate.names[0]) > 10_000
        )
    text = (await get(filled, certificate_path(entry.certificate.fingerprint_sha256))).text
    page = page_of(text)
    (whole,) = [each for each in page.all("span") if each.attributes.get("class") == "whole"][:1]
    assert whole.text == entry.certificate.names[0]
    assert "details" in whole.inside
    assert len(text) < 80_000


async def test_the_overview_tells_what_matters(filled: Site) -> None:
    text = page_of((await get(filled, "/")).text).all("main")[0].text
    for word in ("Next to expire", "Open findings by owner", "Collectors", "payments", "nobody", "cannot run", "needs boto3", "partial"):  # fmt: skip
        assert word in text
    with filled.reading(None) as reader:
        counts = reader.counts()
    for count in (counts.certificates, counts.locations, counts.failing, *counts.open_findings.values()):
        assert f"{count:,}" in text
    assert counts.failing == 7


async def test_the_overview_says_why_it_is_not_at_work(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>'
    with filled_site(tmp_path, 1, not_ready=lambda: [evil], broken=lambda: [evil]) as site:
        text = (await get(site, "/")).text
    assert faults(text) == []
    assert text.count(f"<li>{'&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;'}</li>") == 2


async def test_pages_of_a_list_follow_each_other_without_loss(filled: Site) -> None:
    seen: list[str] = []
    path: str | None = "/certificates?state=all"
    while path is not None:
        page = page_of((await get(filled, path)).text)
        links = [each.attributes["href"] for each in page.all("a") if "th" in each.inside]
        seen += [each for each in links if each.startswith("/certificates/")]
        path = next(
            (each.attributes["href"] for each in page.all("a") if each.attributes.get("rel") == "next"), None
        )
    assert len(seen) == len(set(seen))
    with filled.reading(None) as reader:
        expected = [
            certificate_path(each.certificate.fingerprint_sha256)
            for each in reader.list(Query(), filled.clock())
        ]
    assert seen == expected


async def test_findings_follow_each_other_without_loss(filled: Site) -> None:
    seen: list[str] = []
    path: str | None = "/findings"
    while path is not None:
        page = page_of((await get(filled, path)).text)
        seen += [
            each.attributes["href"]
            for each in page.all("a")
            if each.attributes["href"].startswith("/findings/")
        ]
        path = next(
            (each.attributes["href"] for each in page.all("a") if each.attributes.get("rel") == "next"), None
        )
    with filled.reading(None) as reader:
        assert len(seen) == len(set(seen)) == sum(reader.counts().open_findings.values())


async def test_a_certificate_can_be_had_as_pem(filled: Site) -> None:
    with filled.reading(None) as reader:
        certificate = next(reader.list(Query(), filled.clock())).certificate
    answer = await get(filled, certificate_path(certificate.fingerprint_sha256) + ".pem")
    assert answer.status_code == 200
    assert PEM_cert_to_DER_cert(answer.text) == certificate.der
    assert (await get(filled, "/certificates/" + "0" * 64 + ".pem")).status_code == 404


async def test_a_beginning_of_a_fingerprint_is_enough_and_too_little_is_not(filled: Site) -> None:
    with filled.reading(None) as reader:
        digits = next(reader.list(Query(), filled.clock())).certificate.fingerprint_sha256.hex()
    assert (await get(filled, f"/certificates/{digits[:12]}")).status_code == 200
    assert (await get(filled, f"/certificates/{digits[:4]}")).status_code == 404


async def test_the_stylesheet_is_kept_by_browsers_as_long_as_it_is_the_same(filled: Site) -> None:
    page = page_of((await get(filled, "/")).text)
    (sheet,) = [
        each.attributes["href"] for each in page.all("link") if each.attributes["rel"] == "stylesheet"
    ]
    answer = await get(filled, sheet)
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["cache-control"]
    assert (await get(filled, "/static/certwatch.css")).headers["cache-control"] == "no-cache"
    for name in ("..%2fapp.py", "nothing", "certwatch.css%00"):
        assert (await get(filled, f"/static/{name}")).status_code == 404


async def test_pages_are_compressed_for_who_takes_it(filled: Site) -> None:
    transport = httpx.ASGITransport(make_app(filled))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        async with http.stream("GET", "/", headers={"accept-encoding": "gzip"}) as answer:
            raw = b"".join([each async for each in answer.aiter_raw()])
            assert answer.headers["content-encoding"] == "gzip"
            assert answer.headers["vary"] == "Accept-Encoding"
        plain = await http.get("/", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(raw) == plain.content


async def test_an_empty_inventory_says_so(tmp_path: Path) -> None:
    from certwatch.engine.view import StoreView
    from certwatch.inventory import open_inventory
    from certwatch.plugins.testing import FakeClock
    from tests.support.filled import site_of

    view = StoreView(open_inventory(f"sqlite://{tmp_path}/inventory.db"))
    try:
        site = site_of(view, FakeClock(), collectors=list)
        for path, sentence in (
            ("/", "No certificate has been seen yet."),
            ("/", "No scan has ended yet."),
            ("/certificates", "No certificate has been seen yet."),
            ("/findings", "Nothing is wrong, as far as was looked."),
            ("/collectors", "No collector is configured"),
        ):
            answer = await get(site, path)
            assert sentence in answer.text
            assert faults(answer.text) == []
    finally:
        view.close()


texts = st.text(max_size=200) | st.sampled_from(
    ["*.", "*", "://", "%", "'", '"', "0" * 64, "9" * 40, "--", "\x00"]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.dictionaries(
        st.sampled_from(
            [
                "q",
                "where",
                "owner",
                "collector",
                "issuer",
                "state",
                "sort",
                "after",
                "severity",
                "rule",
                "unowned",
                "all",
            ]
        ),
        texts,
    ),
    tail=texts,
    path=st.sampled_from(
        ["/certificates", "/findings", "/", "/certificates/{}", "/locations/{}", "/findings/{}", "/rules/{}"]
    ),
)
async def test_no_question_is_a_fault_of_ours(
    filled: Site, fields: dict[str, str], tail: str, path: str
) -> None:
    try:
        answer = await get(filled, path.format(quote(tail, safe="", errors="replace")), **fields)
    except httpx.InvalidURL:
        return
    assert answer.status_code in (200, 400, 404, 410), answer.text
    if answer.headers["content-type"].startswith("text/html"):
        assert faults(answer.text) == []


@pytest.mark.parametrize(("days", "word"), [(-1, "expired"), (1, "soon"), (10, "near"), (31, "far")])
def test_how_near_the_end_is(days: int, word: str) -> None:
    assert urgency(EPOCH + timedelta(days=days), EPOCH) == word


def test_how_much_of_its_life_has_passed() -> None:
    def passed(before: int, after: int) -> int | None:
        issued = make_certificate(
            not_before=EPOCH + timedelta(days=before), not_after=EPOCH + timedelta(days=after)
        )
        return spent(read(issued.der), EPOCH)

    assert [passed(-30, 10), passed(1, 2), passed(-9, -1), passed(0, 0)] == [75, 0, 100, None]


def test_a_value_that_no_page_gives_is_a_fault_and_not_an_empty_place() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        render("rule.html")
