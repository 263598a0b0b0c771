"""EJBCA and Dogtag over HTTP. Neither is to be had as a package: the far sides here are written from their source."""

import base64
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certwatch.plugins.testing import EPOCH, Issued, make_ca, make_certificate
from certwatch.x509.der import read
from collectors.ca_database.rest import dogtag, ejbca
from collectors.ca_database.skim import issuer_tag
from tests.support.ca_rounds import Rounds
from tests.support.inventories import Tried
from tests.support.json_server import Answer, Asked, json_server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

ROOT = make_ca()
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# EJBCA


class FakeEJBCA:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, serial: int, *, changed: float, **more: Any) -> dict[str, Any]:
        made = make_certificate(issuer=ROOT, serial_number=serial, names=(f"dns:host-{serial}.example",))
        row = {
            "fingerprint": f"{serial:040x}",
            "issuerDN": "CN=Test Root",
            "certificateProfileId": 9,
            "certificateProfile": "SERVER",
            "notBefore": 0,
            "expireDate": int((EPOCH + 60 * DAY).timestamp() * 1000),
            "revocationDate": -1,
            "revocationReason": -1,
            "serialNumber": f"{serial:X}",
            "status": 20,
            "tag": None,
            "udpateTime": _milliseconds(changed),
            "username": "alice",
            "base64Cert": base64.b64encode(base64.b64encode(made.der)).decode(),
            **more,
        }
        self.rows.append(row)
        return row

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/ejbca/ejbca-rest-api/v1/ca":
            return 200, {"certificate_authorities": [{"id": 1, "name": "Root", "subject_dn": "CN=Test Root"}]}
        if asked.path == "/ejbca/ejbca-rest-api/v1/ca/CN=Test Root/certificate/download":
            return 200, ROOT.pem
        if asked.path != "/ejbca/ejbca-rest-api/v2/certificate/search":
            return 404, b"<html>Not found</html>"
        (criterion,) = asked.body["criteria"]
        after = int(datetime.fromisoformat(criterion["value"]).timestamp() * 1000)
        name = {"UPDATE_TIME": "udpateTime", "EXPIRE_DATE": "expireDate"}[criterion["property"]]
        found = [each for each in self.rows if each[name] > after]
        assert asked.body["sort"] == {"property": "UPDATE_TIME", "operation": "DESC"}
        found.sort(key=lambda each: each["udpateTime"], reverse=True)
        size, page = (asked.body["pagination"][each] for each in ("page_size", "current_page"))
        part = found[size * (page - 1) : size * page]
        return 200, {
            # What the server cannot read itself is left out, and counted.
            "certificates": [each for each in part if each["base64Cert"]],
            "pagination_summary": {
                "page_size": size,
                "current_page": page,
                "total_certs": size * (page - 1) + len(part) if part else None,
            },
        }


def _milliseconds(minutes: float) -> int:
    return int((EPOCH + minutes * MINUTE).timestamp() * 1000)


def at(serial: str, by: Issued = ROOT) -> str:
    return f"cadb://corp/{serial}?ca={issuer_tag(read(by.der).subject_der or b'')}"


async def test_ejbcas_api_is_read_by_pages_and_then_by_what_has_changed(
    tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ejbca, "PAGE", 2)
    fake = FakeEJBCA()
    for number in range(10, 15):
        fake.add(number, changed=-600 + 10 * number)
    fake.add(0x20, changed=-480.5, base64Cert="")
    with json_server(fake.answer) as server:
        rounds = Rounds(tried, preset="ejbca-rest", url=server.url, token="abc")
        scan = await rounds.round()
        assert (scan.status, scan.errors) == ("complete", 0), scan.error
        assert sorted(rounds.live()) == [at(f"{number:02x}") for number in range(10, 15)]
        assert tried.served(at("0a")).facts == {
            "ca_status": "issued",
            "ca_requester": "alice",
            "ca_profile": "SERVER",
        }
        assert [each.subject for each in rounds.database.chain] == ["CN=Test Root"]
        assert {each.headers["authorization"] for each in server.asked} == {"Bearer abc"}
        await rounds.round()
        assert rounds.told == []

        changed = _milliseconds(35)
        fake.rows[0].update(status=40, revocationReason=1, revocationDate=changed, udpateTime=changed)
        fake.add(0x30, changed=36)
        await rounds.round()
        # And what was changed shortly before the mark: clocks of several nodes differ.
        assert {at("0a"), at("30")} <= set(rounds.told) <= {at("0a"), at("0e"), at("30")}
        revoked = tried.served(at("0a")).facts
        assert (revoked["revocation_reason"], revoked["revoked_at"]) == (
            "keyCompromise",
            "2026-11-01T12:35:00Z",
        )

        fake.rows = [each for each in fake.rows if each["udpateTime"] < _milliseconds(0)]
        await rounds.round()
        assert "ca_went_back_at" in rounds.database.facts
        assert at("30") not in rounds.live()


async def test_an_ejbca_without_its_rest_protocol_is_told(tried: Tried) -> None:
    with json_server(lambda asked: (404, b"")) as server:
        scan = await Rounds(tried, preset="ejbca-rest", url=server.url, token="abc").round()
    assert scan.error is not None
    assert "See that the REST protocol is enabled" in scan.error.message


# Dogtag


AGENT = "https://pki.example:8443/ca/rest/agent/certrequests"


class FakeDogtag:
    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.bodies: dict[str, Issued] = {}
        self.waiting: list[int] = []

    def add(self, serial: int, *, issued: float, **more: Any) -> None:
        made = make_certificate(issuer=ROOT, serial_number=serial, names=(f"dns:host-{serial}.example",))
        id = f"0x{serial:x}"
        self.bodies[id] = made
        self.records[id] = {
            "id": id,
            "subjectDN": "CN=x",
            "issuerDN": "CN=Test Root",
            "status": "VALID",
            "notValidAfter": int((EPOCH + 60 * DAY).timestamp() * 1000),
            "issuedOn": _milliseconds(issued),
            "issuedBy": "caadmin",
            **more,
        }

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/ca/v2/config/cert/signing":
            return 200, {"id": "0x1", "Encoded": ROOT.pem.decode()}
        if asked.path == "/ca/v2/agent/certrequests":
            return 200, {
                "total": len(self.waiting),
                "entries": [
                    {"requestType": "enrollment", "requestStatus": "pending", "requestURL": f"{AGENT}/{id}"}
                    for id in self.waiting
                ],
            }
        if asked.path == "/ca/v2/certs/search":
            start, size = int(asked.query["start"]), int(asked.query["size"])
            found = [each for each in self.records.values() if self._matches(each, asked.body)]
            return 200, {"total": len(found), "entries": found[start : start + size]}
        id = asked.path.rpartition("/")[2]
        if id not in self.bodies:
            return 404, {"message": f"Certificate ID {id} not found"}
        record = self.records[id]
        return 200, {
            "id": id,
            "Encoded": self.bodies[id].pem.decode(),
            "Status": record["status"],
            "RevokedOn": record.get("revokedOn"),
            "RevocationReason": record.get("reason"),
        }

    def _matches(self, record: dict[str, Any], search: dict[str, Any]) -> bool:
        for name, field in (
            ("issuedOn", "issuedOn"),
            ("revokedOn", "revokedOn"),
            ("validNotAfter", "notValidAfter"),
        ):
            if search.get(f"{name}InUse"):
                return int(record.get(field) or 0) >= int(search[f"{name}From"])
        raise AssertionError(search)


async def test_dogtag_is_read_by_pages_and_then_by_what_was_issued_and_revoked(
    tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dogtag, "PAGE", 2)
    fake = FakeDogtag()
    for number in range(10, 15):
        fake.add(number, issued=-600 + 10 * number)
    with json_server(fake.answer) as server:
        rounds = Rounds(tried, preset="dogtag", url=server.url)
        scan = await rounds.round()
        assert (scan.status, scan.errors) == ("complete", 0), scan.error
        assert rounds.live() == [f"cadb://corp/{number:02x}" for number in range(10, 15)]
        assert tried.served("cadb://corp/0a").facts == {"ca_status": "issued", "ca_requester": "caadmin"}
        assert [each.subject for each in rounds.database.chain] == ["CN=Test Root"]
        assert "ca_pending" not in rounds.database.facts

        fake.add(0x30, issued=16)
        fake.records["0xa"].update(status="REVOKED", revokedOn=_milliseconds(15.5), reason=1)
        await rounds.round()
        assert {"cadb://corp/0a", "cadb://corp/30"} <= set(rounds.told)
        assert "cadb://corp/0b" not in rounds.told
        revoked = tried.served("cadb://corp/0a").facts
        assert (revoked["revocation_reason"], revoked["revoked_at"]) == (
            "keyCompromise",
            "2026-11-01T12:15:30Z",
        )
        assert len(rounds.live()) == 6

        del fake.records["0x30"], fake.bodies["0x30"]
        await rounds.round()
        assert "ca_went_back_at" in rounds.database.facts
        assert "cadb://corp/30" not in rounds.live()


@pytest.mark.parametrize("preset", ["dogtag", "ejbca-rest"])
async def test_an_answer_without_the_list_is_no_empty_list(tried: Tried, preset: str) -> None:
    """All that the database had would be taken for gone."""

    def no_list(asked: Asked) -> Answer:
        return 200, {"hello": "sign in"}

    with json_server(no_list) as server:
        scan = await Rounds(tried, preset=preset, url=server.url).round()
    assert scan.status in ("failed", "partial")
    error = scan.error or tried.served("ca-database://corp").error
    assert error is not None
    assert error.kind == "malformed"


async def test_pages_without_end_are_given_up(tried: Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (dogtag, ejbca):
        monkeypatch.setattr(module, "MOST_PAGES", 3)
        monkeypatch.setattr(module, "PAGE", 2)
    fake = FakeDogtag()
    fake.add(10, issued=-600)

    def endless(asked: Asked) -> Answer:
        if asked.path.endswith("/v1/ca"):
            return 200, {}
        if asked.path.endswith("/v2/certificate/search"):
            number = asked.body["pagination"]["current_page"]
            return 200, {"certificates": [], "pagination_summary": {"total_certs": number * 2}}
        if asked.path == "/ca/v2/certs/search":
            return 200, {"total": 1, "entries": [fake.records["0xa"]]}
        return fake.answer(asked)

    with json_server(endless) as server:
        for preset in ("dogtag", "ejbca-rest"):
            scan = await Rounds(tried, preset=preset, url=server.url).round()
            assert scan.status == "partial"
            error = tried.served("ca-database://corp").error
            assert error is not None
            assert "more than 3 pages" in error.message


async def test_since_when_a_request_waits_is_found_out_where_dogtag_does_not_say(
    tried: Tried, tmp_path: Path
) -> None:
    fake = FakeDogtag()
    fake.add(10, issued=-600)
    agent = make_certificate(issuer=ROOT, names=("dns:agent",))
    for name, data in (("agent.pem", agent.pem), ("agent.key", agent.key_pem)):
        (tmp_path / name).write_bytes(data)
    with json_server(fake.answer) as server:
        rounds = Rounds(
            tried, preset="dogtag", url=server.url, client_certificate=str(tmp_path / "agent.pem"),
            client_key=str(tmp_path / "agent.key"),
        )  # fmt: skip

        async def waits() -> tuple[object, object]:
            await rounds.round()
            facts = rounds.database.facts
            return facts.get("ca_pending"), facts.get("ca_pending_since")

        assert await waits() == (0, None)
        fake.waiting = [8, 9]
        first = await waits()
        assert first == (2, "2026-11-01T12:30:00Z")
        fake.waiting = [8, 9, 11]
        assert await waits() == (3, first[1])
        # Somebody has decided on that one: the next has waited at least since now.
        fake.waiting = [9, 11]
        assert await waits() == (2, "2026-11-01T13:00:00Z")
        fake.waiting = []
        assert await waits() == (0, None)
