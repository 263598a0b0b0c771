"""OpenSSL's index.txt: lines, and a CA's folder through its life."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.model.observation import FACTS, Incomplete, Observation
from certwatch.plugins.testing import EPOCH, collect, make_ca, make_certificate
from certwatch.x509.der import read
from collectors.ca_database import CADatabaseCollector, openssl_index
from collectors.ca_database.openssl_index import parse_line
from collectors.ca_database.record import Record
from collectors.ca_database.skim import issuer_tag
from tests.support.ca_rounds import Rounds
from tests.support.inventories import opened

pytestmark = pytest.mark.anyio

ROOT = make_ca()


def line(
    serial: str, *, type: str = "V", end: str = "270101000000Z", revoked: str = "", name: str = "/CN=x"
) -> str:
    return f"{type}\t{end}\t{revoked}\t{serial}\tunknown\t{name}\n"


class CA:
    """A folder as `openssl ca` leaves it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "newcerts").mkdir()
        (folder / "ca.crt").write_bytes(ROOT.pem)
        self.lines: list[str] = []
        self.write()

    def issue(self, serial: int, *, name: str = "dns:www.example.com", days: int = 60) -> None:
        made = make_certificate(
            issuer=ROOT,
            serial_number=serial,
            names=(name,),
            not_before=EPOCH + timedelta(days=days - 90),
            not_after=EPOCH + timedelta(days=days),
        )
        shown = f"{serial:x}".upper()
        shown = shown.zfill(len(shown) + len(shown) % 2)
        (self.folder / "newcerts" / f"{shown}.pem").write_bytes(b"Certificate:\n    Data:\n" + made.pem)
        self.lines.append(line(shown, end=(EPOCH + timedelta(days=days)).strftime("%y%m%d%H%M%SZ")))
        self.write()

    def write(self) -> None:
        new = self.folder / "index.txt.new"
        new.write_text("".join(self.lines))
        os.replace(new, self.folder / "index.txt")


@pytest.fixture
def ca(tmp_path: Path) -> CA:
    folder = tmp_path / "ca"
    folder.mkdir()
    return CA(folder)


@pytest.fixture
def rounds(ca: CA, tmp_path: Path) -> Iterator[Rounds]:
    store = tmp_path / "store"
    store.mkdir()
    with opened("sqlite", store) as tried:
        yield Rounds(tried, preset="openssl", path=str(ca.folder))


def test_a_line_says_what_became_of_a_certificate() -> None:
    found = parse_line(
        line("0A1F", type="R", revoked="261020112233Z,keyTime,20261020110000Z", name="/C=DE/CN=a"),
        "index.txt:1",
        1,
    )
    assert (found.serial, found.revoked, found.reason) == ("0a1f", True, "keyCompromise")
    assert found.revoked_at == datetime(2026, 10, 20, 11, 22, 33, tzinfo=UTC)
    assert found.not_after == datetime(2027, 1, 1, tzinfo=UTC)
    assert (found.subject, found.problem) == ("/C=DE/CN=a", None)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("491231235959Z", datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("500101000000Z", datetime(1950, 1, 1, tzinfo=UTC)),
        ("20500101000000Z", datetime(2050, 1, 1, tzinfo=UTC)),
        ("99991231235959Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("never", None),
        ("", None),
    ],
)
def test_dates_are_utc_time_until_2049_and_generalized_time_after(end: str, said: datetime | None) -> None:
    assert parse_line(line("01", end=end), "index.txt:1", 1).not_after == said


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", None),
        (",unspecified", "unspecified"),
        (",CACompromise", "cACompromise"),
        (",CAkeyTime,20260101000000Z", "cACompromise"),
        (",holdInstruction,1.2.840.10040.2.3", "certificateHold"),
        (",cessationOfOperation", "cessationOfOperation"),
        (",somethingElse", None),
    ],
)
def test_reasons_are_told_by_their_name_in_the_standard(written: str, reason: str | None) -> None:
    found = parse_line(line("01", type="R", revoked="261020112233Z" + written), "index.txt:1", 1)
    assert (found.revoked, found.reason) == (True, reason)


@given(st.text(max_size=200) | st.lists(st.text(max_size=20), min_size=6, max_size=6).map("\t".join))
def test_no_line_is_too_strange(text: str) -> None:
    found = parse_line(text, "index.txt:7", 7)
    assert (found.problem is None) == bool(found.serial)
    if found.problem is not None:
        assert (found.problem.kind, found.place) == ("malformed", "line-7")
        assert found.problem.message.isprintable()


async def test_every_certificate_of_the_index_is_told_with_its_body_and_its_state(ca: CA) -> None:
    ca.issue(0x0A1F)
    ca.issue(0x0B)
    ca.lines[1] = line("0B", type="R", revoked="261020112233Z,superseded")
    ca.lines.append(line("0C", name="/CN=gone"))
    ca.write()
    said = await collect(CADatabaseCollector, {"preset": "openssl", "path": str(ca.folder)}, name="corp")
    first, revoked, bare, database = [each for each in said if isinstance(each, Observation)]
    assert (first.location, first.facts) == ("cadb://corp/0a1f", {"ca_status": "issued"})
    assert read(first.chain[0]).serial_hex == "0a1f"
    assert first.error is None
    assert revoked.location == "cadb://corp/0b"
    assert revoked.facts == {
        "ca_status": "revoked",
        "revoked_at": "2026-10-20T11:22:33Z",
        "revocation_reason": "superseded",
    }
    assert (bare.chain, bare.error) == ((), None)
    assert bare.facts == {
        "ca_status": "issued",
        "ca_serial": "0c",
        "ca_subject": "/CN=gone",
        "ca_not_after": "2027-01-01T00:00:00Z",
    }
    assert (database.location, database.chain) == ("ca-database://corp", (ROOT.der,))
    assert database.facts["ca_longest_lifetime_days"] == 90
    assert database.facts["ca_issuers"] == issuer_tag(read(ROOT.der).subject_der or b"")
    assert all(set(each.facts) <= set(FACTS) for each in (first, revoked, bare, database))


async def test_an_index_that_did_not_change_is_not_read_again(ca: CA, rounds: Rounds) -> None:
    ca.issue(1)
    ca.issue(2)
    assert (await rounds.round()).status == "complete"
    assert rounds.live() == ["cadb://corp/01", "cadb://corp/02"]
    assert (await rounds.round()).status == "complete"
    assert rounds.told == []
    assert rounds.live() == ["cadb://corp/01", "cadb://corp/02"]


async def test_what_is_new_and_what_is_revoked_comes_with_the_next_round(ca: CA, rounds: Rounds) -> None:
    ca.issue(1)
    await rounds.round()
    ca.lines[0] = line("01", type="R", revoked="261101000000Z,keyCompromise")
    ca.issue(2)
    await rounds.round()
    assert rounds.live() == ["cadb://corp/01", "cadb://corp/02"]
    assert rounds.tried.served("cadb://corp/01").facts["revocation_reason"] == "keyCompromise"


async def test_all_is_read_again_when_its_time_has_come(ca: CA, rounds: Rounds) -> None:
    ca.issue(1)
    await rounds.round()
    await rounds.round(hours=23)
    assert rounds.told == []
    await rounds.round(hours=2)
    assert rounds.told == ["cadb://corp/01"]


async def test_an_index_restored_from_before_is_found_out_and_read_anew(ca: CA, rounds: Rounds) -> None:
    ca.issue(1)
    shutil.copytree(ca.folder, backup := ca.folder.parent / "backup")
    ca.issue(2)
    await rounds.round()
    assert rounds.live() == ["cadb://corp/01", "cadb://corp/02"]
    shutil.rmtree(ca.folder)
    shutil.copytree(backup, ca.folder)
    scan = await rounds.round()
    assert scan.status == "complete"
    assert rounds.live() == ["cadb://corp/01"]
    assert rounds.database.facts["ca_went_back_at"] == f"{rounds.tried.clock():%Y-%m-%dT%H:%M:%SZ}"


async def test_a_body_that_is_broken_is_told_and_ends_nothing(ca: CA, rounds: Rounds) -> None:
    ca.issue(1)
    ca.issue(2)
    (ca.folder / "newcerts" / "01.pem").write_text(
        "-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n"
    )
    assert (await rounds.round()).status == "complete"
    broken = rounds.tried.served("cadb://corp/01")
    assert broken.error is not None
    assert broken.error.kind == "malformed"
    assert "01.pem" in broken.error.message
    assert len(rounds.tried.served("cadb://corp/02").chain) == 1


async def test_a_line_that_is_damaged_is_told_by_its_number(ca: CA, rounds: Rounds) -> None:
    ca.issue(1)
    ca.lines.append("V\thalf of")
    ca.write()
    await rounds.round()
    served = rounds.tried.served("cadb://corp/line-2")
    assert served.error is not None
    assert "index.txt:2" in served.error.message


async def test_what_ended_long_ago_is_left_out(ca: CA, rounds: Rounds) -> None:
    ca.issue(1, days=-31)
    ca.issue(2, days=-29)
    ca.lines.append(line("03", type="E", end="200101000000Z"))
    ca.write()
    await rounds.round(minutes=1)
    assert rounds.live() == ["cadb://corp/02"]


async def test_a_ca_that_is_not_there_fails_the_scan_and_retires_nothing(ca: CA, rounds: Rounds) -> None:
    ca.issue(1)
    await rounds.round()
    shutil.rmtree(ca.folder)
    scan = await rounds.round()
    assert (scan.status, scan.error and scan.error.kind) == ("failed", "not-found")
    assert rounds.live() == ["cadb://corp/01"]
    assert not any(isinstance(each, Incomplete) for each in rounds.said)


async def test_an_index_that_is_written_while_it_is_read_retires_nothing(
    ca: CA, rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    for serial in (0x0A, 0x0B, 0x0C):
        ca.issue(serial)
    await rounds.round()
    assert len(rounds.live()) == 3
    index = ca.folder / "index.txt"
    ca.issue(0x0D)
    whole, half = index.read_text(), "".join(ca.lines[:3])
    index.write_text(half)
    read_line = openssl_index.parse_line

    def written_meanwhile(line: str, where: str, number: int) -> Record:
        if number == 1:
            # Into the same file, as `openssl ca` does not, and a script may.
            with index.open("a") as file:
                file.write(ca.lines[3][:10])
        return read_line(line, where, number)

    monkeypatch.setattr(openssl_index, "parse_line", written_meanwhile)
    scan = await rounds.round()
    assert scan.status == "partial"
    assert "was written while it was read" in rounds.database.error.message  # type: ignore[union-attr]
    assert len(rounds.live()) >= 3

    monkeypatch.undo()
    index.write_text(whole)
    scan = await rounds.round()
    assert scan.status == "complete"
    assert len(rounds.live()) == 4


@pytest.mark.parametrize("name", ["index.txt", "newcerts/0A.pem", "ca.crt"])
async def test_a_pipe_in_place_of_a_file_holds_nobody_up(ca: CA, rounds: Rounds, name: str) -> None:
    ca.issue(0x0A)
    (ca.folder / name).unlink()
    os.mkfifo(ca.folder / name)
    scan = await rounds.round()
    assert scan.status == {"index.txt": "partial"}.get(name, "complete")
    assert (rounds.live() == []) == (name == "index.txt")


def test_a_serial_number_below_zero_is_one() -> None:
    assert parse_line(line("-0A"), "index.txt:1", 1).serial == "-0a"
