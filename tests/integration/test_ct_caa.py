"""Whether CAA records allow what is found in a log: of a real name server (NSD)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certwatch.plugins.testing import EPOCH, make_ca, make_certificate
from certwatch.x509 import der
from tests.collectors.ct_stage import Reading
from tests.support.ct_log import TestLog, serving
from tests.support.nsd import nsd

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(60)]
CA = make_ca("Good CA", key_number=140)
ACCOUNT = "https://acme.good-ca.example/acct/1"
RECORDS = f"""
@ 300 IN CAA 0 issue "good-ca.example"
@ 300 IN CAA 0 issuewild ";"
bound 300 IN CAA 0 issue "good-ca.example; accounturi={ACCOUNT}"
other 300 IN CAA 0 issue "other-ca.example"
"""
NOW = round(EPOCH.timestamp() * 1000)
DAY = 86_400_000


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with nsd(tmp_path, {"example.com": RECORDS, "free.example": "", "example": ""}) as address:
        yield address


#: Names of each, and what is to be found.
WANTED: dict[tuple[str, ...], tuple[str | None, str | None]] = {
    ("dns:www.example.com",): ("allowed", None),
    ("dns:*.example.com",): ("forbidden", None),
    ("dns:www.example.com", "dns:a.other.example.com"): ("forbidden", None),
    ("dns:x.bound.example.com", "dns:bound.example.com"): ("bound", ACCOUNT),
    ("dns:bound.example.com", "dns:www.example.com"): ("allowed", None),
    ("dns:bound.example.com", "ip:192.0.2.1"): ("allowed", None),
    ("dns:www.free.example",): ("open", None),
    # The server answers for no such zone: what is not known is no permission.
    ("dns:bound.example.com", "dns:www.elsewhere.net"): ("open", None),
}


async def test_caa_records_are_held_against_what_is_found(tmp_path: Path, server: str) -> None:
    log = TestLog()
    log.speaks = {"rfc6962"}
    made = [
        make_certificate(issuer=CA, names=names, serial_number=each + 1) for each, names in enumerate(WANTED)
    ]
    for each in made:
        log.add(each.der, at=NOW - DAY, chain=[CA.der])
    log.add(make_certificate(issuer=CA, names=["dns:*.example.com"]).der, at=NOW - 30 * DAY, chain=[CA.der])
    log.publish(at=NOW)
    with serving(log):
        reading = Reading(tmp_path, log)
        caa = {"servers": [server], "identities": {"CN=Good CA": ["good-ca.example"]}, "timeout": "3s"}
        watched = {"domains": [".example.com", ".free.example"]}
        await reading.once(**watched)
        assert not any("ct_caa" in each.facts for each in reading.found().values())
        reading.memory.kept.clear()
        await reading.once(**watched, caa=caa)
    found = {int(uri.rpartition("/")[2]): each for uri, each in reading.found().items()}
    assert {
        tuple(der.read(each.chain[0]).names): (
            each.facts.get("ct_caa"),
            each.facts.get("ct_caa_accounts"),
        )
        for index, each in found.items()
        if index < len(WANTED)
    } == WANTED
    assert "*.example.com" in str(found[1].facts["ct_caa_text"])
    # What was logged long ago was issued under other records, perhaps.
    assert "ct_caa" not in found[len(WANTED)].facts
