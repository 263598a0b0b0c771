"""What others know of the past: asked for, fetched, read by ourselves, and proving nothing."""

from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509

from certwatch.model.observation import Incomplete, Observation, Unchanged
from certwatch.plugins.collector import CollectError, CollectorContext
from certwatch.plugins.testing import FakeClock, Issued, make_ca, make_certificate
from collectors.ct.search import SearchCollector, SearchConfig
from tests.support.crtsh import CrtSh, crtsh
from tests.support.ct_view import Memory

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
CA = make_ca("Good CA", key_number=140)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"use_uvloop": True}


def made(*names: str, number: int = 1, poisoned: bool = False) -> Issued:
    return make_certificate(
        issuer=CA,
        names=[f"dns:{each}" for each in names],
        serial_number=number,
        extensions=[(x509.PrecertPoison(), True)] if poisoned else [],
    )


@pytest.fixture
def site() -> Iterator[CrtSh]:
    with crtsh() as it:
        it.certificates = {
            11: made("www.example.com", number=11).der,
            12: made("deep.in.example.com", "other.net", number=12, poisoned=True).der,
            13: made("*.example.com", number=13).der,
            14: made("notexample.com", number=14).der,
            15: made("example.com", number=15).der,
            16: made("shop.example.org", number=16).der,
            17: made("*.example.org", number=17).der,
            18: made("mail.example.org", number=18).der,
        }
        yield it


class Searching:
    def __init__(self, site: CrtSh, **config: Any) -> None:
        self.memory = Memory()
        keys = {"domains": [".example.com"], "url": site.url, "requests": 100, "contact": "a@example.com"}
        self.plugin = SearchCollector(
            "past",
            SearchConfig.model_validate(keys | config),
            CollectorContext(clock=FakeClock(), view=self.memory),
        )

    async def once(self) -> list[Any]:
        said = []
        async with aclosing(cast("Any", self.plugin.collect())) as stream:
            async for each in stream:
                said.append(each)
                if isinstance(each, Observation):
                    self.memory.record(each)
        return said

    @property
    def found(self) -> list[int]:
        return sorted(int(each.rpartition("/")[2]) for each in self.memory.kept)


async def test_what_is_for_our_names_is_found_and_fetched_once(site: CrtSh) -> None:
    it = Searching(site, domains=[".example.com", "shop.example.org"])
    said = await it.once()
    assert it.found == [11, 12, 13, 15, 16, 17]
    assert isinstance(said[-1], Unchanged)
    (first,) = (each for uri, each in it.memory.kept.items() if uri.endswith("/12"))
    assert first.location.startswith("ct-search://127.0.0.1:")
    assert first.facts["ct_entry"] == "precertificate"
    assert first.facts["ct_logged_at"] == "2026-11-01T12:00:00Z"
    assert "deep.in.example.com" in str(first.facts["ct_matches"])
    assert first.chain == (site.certificates[12],)
    assert site.user_agents == {next(iter(site.user_agents))}
    assert "(+a@example.com)" in next(iter(site.user_agents))
    assert all("exclude=expired" in each for each in site.asked if each.startswith("q="))
    site.asked.clear()
    site.certificates[19] = made("new.example.com", number=19).der
    await it.once()
    assert 19 in it.found
    assert [each for each in site.asked if each.startswith("d=")] == ["d=19"]


async def test_what_it_names_and_is_not_ours_is_passed_over_and_not_asked_for_again(
    site: CrtSh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the list says of a certificate: what is in it counts."""
    names = CrtSh._names
    lies = {site.certificates[14], site.certificates[18]}
    monkeypatch.setattr(
        CrtSh, "_names", lambda self, data: ["www.example.com"] if data in lies else names(self, data)
    )
    it = Searching(site)
    await it.once()
    assert it.found == [11, 12, 13, 15]
    site.asked.clear()
    await it.once()
    assert not any(each.startswith("d=") for each in site.asked)


async def test_one_scan_fetches_so_much_and_the_next_goes_on(site: CrtSh) -> None:
    it = Searching(site, most=2)
    await it.once()
    assert it.found == [13, 15]
    await it.once()
    assert it.found == [11, 12, 13, 15]


@pytest.mark.parametrize(
    "body", [b"<html><body>502 Bad Gateway</body></html>", b"", b"{}", b'[{"id": "x"}]', b"[" * 100_000]
)
async def test_an_answer_that_is_none_fails_the_scan(site: CrtSh, body: bytes) -> None:
    it = Searching(site)
    site.instead = [(200, body, {})]
    with pytest.raises(CollectError, match="something else than JSON"):
        await it.once()


@pytest.mark.parametrize(
    "body", [b"<html>", b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
async def test_a_certificate_that_is_none_stops_nothing(site: CrtSh, body: bytes) -> None:
    it = Searching(site)
    site.instead = [site.answer("q=example.com"), site.answer("q=%25.example.com"), (200, body, {})]
    await it.once()
    assert it.found == [11, 12, 13]


async def test_a_site_that_is_busy_is_asked_again_and_one_that_fails_loses_nothing(
    site: CrtSh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collectors.ct.requests.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("collectors.ct.pace.FIRST_INTERVAL", 0.001)
    it = Searching(site)
    site.instead = [(503, b"", {}), (429, b"", {"Retry-After": "0"})]
    said = await it.once()
    assert it.found == [11, 12, 13, 15]
    assert isinstance(said[-1], Unchanged)
    site.certificates[20] = made("later.example.com", number=20).der
    site.instead = [site.answer("q=example.com"), site.answer("q=%25.example.com")] + [(500, b"", {})] * 9
    said = await it.once()
    assert isinstance(said[-1], Incomplete)
    site.instead = []
    await it.once()
    assert 20 in it.found


@pytest.mark.parametrize("domain", [".", ".com", "com", "a b"])
def test_what_is_too_much_to_search_for_is_refused(domain: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"too much|no name"):
        SearchConfig.model_validate({"domains": [domain]})
