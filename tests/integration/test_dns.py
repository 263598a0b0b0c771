"""CAA records and zones of a real name server (NSD)."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest

from certwatch.doors.dns_records import NO_CAA, CAALookup, CAARecord, NameServer, hosts_of_zone
from certwatch.doors.failure import LookFailed
from certwatch.model.finding import Finding, Problem
from certwatch.model.location import LocationURI
from certwatch.model.observation import Incomplete, Observation, Scan
from certwatch.model.sighting import Served
from certwatch.plugins.collector import Collector, CollectorContext
from certwatch.plugins.testing import FakeClock, make_ca, make_certificate
from collectors.caa import CAACollector, CAAConfig
from collectors.hosts import HostsCollector, HostsConfig
from rules.caa import RULE
from tests.support.nsd import nsd
from tests.support.servers import free_port
from tests.support.serving import served, world

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

RECORDS = """
@ 300 IN CAA 0 issue "letsencrypt.org; validationmethods=dns-01"
@ 300 IN CAA 0 issuewild ";"
@ 300 IN CAA 128 tbs "unknown"
www 300 IN A 192.0.2.1
a.b 300 IN AAAA 2001:db8::1
shop 300 IN CNAME www
shop2 300 IN CAA 0 issue "pki.goog"
txt 300 IN TXT "no host"
*.wild 300 IN A 192.0.2.2
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with nsd(
        tmp_path, {"example.com": RECORDS, "bare.example": "www 300 IN A 192.0.2.3", "example": ""}
    ) as address:
        yield address


async def test_caa_records_are_those_of_the_nearest_name_above_that_has_any(server: str) -> None:
    lookup = CAALookup([NameServer.parse(server)])
    try:
        deep = await lookup.relevant("x.a.b.example.com")
        assert deep.at == "example.com"
        assert (
            CAARecord(tag="issue", value="letsencrypt.org; validationmethods=dns-01", critical=False)
            in deep.records
        )
        assert CAARecord(tag="tbs", value="unknown", critical=True) in deep.records
        assert (await lookup.relevant("shop2.example.com")).at == "shop2.example.com"
        assert await lookup.relevant("www.bare.example") == NO_CAA
    finally:
        await lookup.close()


async def test_a_server_that_does_not_answer_is_told_and_is_not_no_records() -> None:
    lookup = CAALookup([NameServer(address="127.0.0.1", port=free_port())], timeout=2)
    try:
        with pytest.raises(LookFailed, match=r"www\.example\.com: its CAA records cannot be looked up"):
            await lookup.relevant("www.example.com")
    finally:
        await lookup.close()


async def test_the_hosts_of_a_zone_are_its_names_with_addresses_or_aliases(server: str) -> None:
    found = await hosts_of_zone("example.com", NameServer.parse(server))
    assert found == ["a.b.example.com", "ns.example.com", "shop.example.com", "www.example.com"]


async def test_a_transfer_that_is_refused_is_told(tmp_path: Path) -> None:
    with nsd(tmp_path, {"example.com": RECORDS}, transfer=False) as address:
        with pytest.raises(LookFailed, match="does not transfer it") as raised:
            await hosts_of_zone("example.com", NameServer.parse(address))
    assert raised.value.kind == "permission"


class View:
    def __init__(self, *places: Served) -> None:
        self._places = places

    def live(self) -> Iterable[Served]:
        return self._places

    def open_findings(self) -> Iterable[Finding]:
        return ()

    def served(self, uri: LocationURI) -> Served | None:
        return None

    def last_scans(self) -> Sequence[Scan]:
        return ()


async def told(collector: Collector) -> list[Observation | Incomplete]:
    stream = cast("AsyncGenerator[Observation | Incomplete, None]", collector.collect())
    async with aclosing(stream):
        return [each async for each in stream]


def said(look: Observation) -> list[Problem]:
    place = served((), uri=look.location, facts=look.facts)
    return [each for each in RULE.evaluate(place, RULE.Config(), world()) if isinstance(each, Problem)]


def issued_by(organisation: str, *names: str, number: int) -> Served:
    ca = make_ca(organisation, key_number=number)
    leaf = make_certificate(issuer=ca, names=tuple(f"dns:{each}" for each in names), serial_number=number)
    return served([leaf, ca])


async def test_a_certificate_that_its_names_records_do_not_allow_is_found_and_others_are_not(
    server: str,
) -> None:
    view = View(
        issued_by("Good CA", "www.example.com", number=41),
        issued_by("Other CA", "www.example.com", "shop2.example.com", "*.example.com", number=42),
        issued_by("Unknown CA", "www.example.com", number=43),
    )
    config = CAAConfig(
        servers=(server,), identities={"CN=Good CA": ("letsencrypt.org",), "CN=Other CA": ("pki.goog",)}
    )
    collector = CAACollector("caa", config, CollectorContext(clock=FakeClock(), view=cast("Any", view)))
    looks = [each for each in await told(collector) if isinstance(each, Observation)]
    assert len(looks) == 4, "the unknown CA's names are not asked about"
    problems = {
        look.facts["caa_name"]: said(look) for look in looks if "Other" in str(look.facts["caa_issuer"])
    }
    assert not problems["shop2.example.com"]
    assert "example.com allows letsencrypt.org (issue)" in problems["www.example.com"][0].text
    assert "example.com allows nobody (issuewild)" in problems["*.example.com"][0].text
    (good,) = [look for look in looks if "Good" in str(look.facts["caa_issuer"])]
    assert said(good) == []


async def test_a_zone_names_the_hosts_that_are_expected_and_one_that_is_refused_is_incomplete(
    server: str,
) -> None:
    config = HostsConfig.model_validate(
        {
            "zones": [
                {"name": "example.com", "server": server, "ports": [443, 8443]},
                {"name": "absent.example", "server": server},
            ]
        }
    )
    looks = await told(HostsCollector("hosts", config, CollectorContext(clock=FakeClock())))
    expected = {each.location for each in looks if isinstance(each, Observation)}
    assert {"host://www.example.com:443", "host://www.example.com:8443"} <= expected
    assert len(expected) == 8
    assert [each.scope for each in looks if isinstance(each, Incomplete)] == ["absent.example"]
