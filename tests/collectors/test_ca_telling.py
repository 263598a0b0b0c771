"""Records become places: told apart by serial number, CA and, where these are not enough, fingerprint."""

import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.model.instants import read_instant
from certwatch.model.observation import Observation
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import EPOCH, FakeClock, Issued, make_ca, make_certificate
from certwatch.x509.der import read
from collectors.ca_database import telling
from collectors.ca_database.places import record_location
from collectors.ca_database.record import (
    NO_FACTS,
    REASONS,
    Outcome,
    ReadFailed,
    Record,
    of_epoch,
    reason_of,
    rfc3339,
    serial_of_decimal,
    serial_of_hex,
    serial_of_number,
)
from collectors.ca_database.serials import Serials
from collectors.ca_database.skim import _skim, issuer_tag, skim
from collectors.ca_database.tally import DAYS, MAX_ISSUERS, Tally
from collectors.ca_database.telling import Telling

ROOT = make_ca()
OTHER = make_ca("Other Root", key_number=101)
DAY = timedelta(days=1)


class Given:
    """A source that has these records."""

    whole = True
    authorities: tuple[bytes, ...] = ()
    facts = NO_FACTS

    def __init__(self, records: Sequence[Record], *, several: bool) -> None:
        self._records = records
        self.several = several

    def open(self, mark: str) -> "Given":
        return self

    def records(self) -> Iterator[Record]:
        return iter(self._records)

    def mark(self) -> str:
        return ""

    def pending(self) -> None:
        return None

    def outcomes(self) -> Sequence[Outcome]:
        return ()

    def close(self) -> None: ...


def told(*records: Record, several: bool = False) -> list[Observation]:
    source = Given(records, several=several)
    context = CollectorContext(clock=FakeClock())
    return list(Telling("corp", source, context, EPOCH, expired=DAY, before={}).records(source))


def issued(name: str, by: Issued = ROOT, serial: int = 7) -> Issued:
    return make_certificate(issuer=by, serial_number=serial, names=(f"dns:{name}",))


def test_two_certificates_of_one_serial_and_ca_are_two_places_and_the_second_names_the_first() -> None:
    first, second = issued("a.example"), issued("b.example")
    one, two, again = told(Record(der=first.der), Record(der=second.der), Record(der=first.der))
    assert one.location == again.location == "cadb://corp/07"
    assert two.location == f"cadb://corp/07#{sha256(second.der).hexdigest()[:16]}"
    assert two.facts["ca_collision"] == sha256(first.der).hexdigest()[:16]
    assert "ca_collision" not in one.facts


def test_two_cas_of_one_database_may_have_one_serial() -> None:
    one, two = told(
        Record(der=issued("a.example").der), Record(der=issued("b.example", OTHER).der), several=True
    )
    assert one.location == f"cadb://corp/07?ca={issuer_tag(read(ROOT.der).subject_der or b'')}"
    assert two.location == f"cadb://corp/07?ca={issuer_tag(read(OTHER.der).subject_der or b'')}"
    assert not one.facts.keys() & two.facts.keys() & {"ca_collision"}


def test_bytes_that_are_no_certificate_are_told_by_the_serial_that_the_database_gives() -> None:
    garbage, nameless = told(Record(der=b"\x30\x03???", serial="0b"), Record(der=b"??"))
    assert (garbage.location, garbage.chain) == ("cadb://corp/0b", (b"\x30\x03???",))
    assert nameless.location == f"cadb://corp/{sha256(b'??').hexdigest()[:16]}"


def test_what_is_skimmed_is_what_is_read() -> None:
    made = issued("a.example", serial=0x80FF)
    full, quick = read(made.der), skim(made.der)
    assert quick is not None
    assert (quick.serial, quick.not_before, quick.not_after) == (
        full.serial_number,
        full.not_before,
        full.not_after,
    )
    assert quick.issuer == issuer_tag(full.issuer_der or b"")


@given(st.data())
def test_no_bytes_break_the_skimming(data: st.DataObject) -> None:
    made = bytearray(issued("a.example").der[:120])
    for _ in range(data.draw(st.integers(0, 5))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    skim(bytes(made[: data.draw(st.integers(0, len(made)))]))


@given(st.integers(min_value=-(2**159), max_value=2**160))
def test_a_serial_number_is_the_same_in_every_notation(number: int) -> None:
    wanted = serial_of_number(number)
    assert serial_of_decimal(number) == serial_of_decimal(str(number).encode()) == wanted
    if number >= 0:
        for written in (f"{number:x}", f"0x{number:X}", f"{number:036x}", bytes.fromhex(wanted).hex(":")):
            assert serial_of_hex(written) == wanted


@given(st.text(max_size=50))
def test_what_is_no_serial_number_is_none(text: str) -> None:
    for found in (serial_of_decimal(text), serial_of_hex(text)):
        assert found == "" or int(found, 16) is not None


def test_reasons_come_by_number_and_by_name_however_written() -> None:
    for number, name in REASONS.items():
        assert reason_of(number) == reason_of(str(number)) == reason_of(name.upper()) == name
    assert reason_of("key_compromise") == reason_of("Key Compromise") == "keyCompromise"
    assert reason_of(-1) is reason_of(7) is reason_of(None) is reason_of("whatever") is reason_of("") is None


def test_instants_that_no_calendar_has_are_none() -> None:
    assert of_epoch(1e30) is None
    assert of_epoch(float("nan")) is None
    assert read_instant(rfc3339(EPOCH)) == EPOCH


def test_a_table_of_serials_remembers_each_and_grows() -> None:
    serials, rows = Serials(), random.Random(7)  # noqa: S311
    names = [f"cadb://corp/{rows.getrandbits(128):x}" for _ in range(20_000)]
    for number, name in enumerate(names):
        assert serials.other(name, number.to_bytes(8, "big") * 2) == b""
    assert serials.count == 20_000
    for number, name in enumerate(names):
        assert serials.other(name, number.to_bytes(8, "big") * 2) == b""
        assert serials.other(name, b"\xff" * 32) == number.to_bytes(8, "big")


def test_issuance_is_counted_by_day_and_goes_on_from_what_was_counted() -> None:
    first = Tally(EPOCH)
    first.add("aa", 1 << 120, EPOCH - DAY, EPOCH + 30 * DAY)
    first.add("aa", 1 << 120, EPOCH - DAY, EPOCH + 59 * DAY)
    first.add("bb", 1 << 120, EPOCH - 80 * DAY, EPOCH + 300 * DAY)
    first.add("cc", 1 << 120, EPOCH - 100 * DAY, EPOCH + 900 * DAY)
    facts = first.facts()
    assert facts == {
        "ca_issued_by_day": "2026-10-31:2",
        "ca_issuers": "aa bb cc",
        "ca_longest_lifetime_days": 380,
    }
    later = Tally(
        EPOCH + DAY, str(facts["ca_issued_by_day"]), facts["ca_longest_lifetime_days"], facts["ca_issuers"]
    )
    later.add("aa", 1 << 120, EPOCH + DAY, EPOCH + 2 * DAY)
    assert later.facts()["ca_issued_by_day"] == "2026-10-31:2 2026-11-02:1"
    assert Tally(EPOCH + DAYS * DAY, str(facts["ca_issued_by_day"])).facts() == {}


def test_what_is_counted_has_a_bound() -> None:
    tally = Tally(EPOCH)
    for number in range(1000):
        tally.add(f"{number:016x}", 1 << 120, EPOCH - number * DAY / 10, EPOCH)
    facts = tally.facts()
    assert len(str(facts["ca_issuers"]).split()) == MAX_ISSUERS
    assert len(str(facts["ca_issued_by_day"]).split()) == DAYS


def test_a_serial_number_of_any_length_becomes_a_place_of_some_length() -> None:
    first, second = (record_location("cadb://corp/", digit * 600_000, "", "") for digit in "ab")
    assert first != second
    assert len(first) < 200
    assert record_location("cadb://corp/", "0a" * 20, "", "") == "cadb://corp/" + "0a" * 20


def test_a_source_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "MOST", 3)
    with pytest.raises(ReadFailed, match="more than 3 records"):
        told(*[Record(der=None, serial=f"{number:02x}") for number in range(5)])


@given(st.data())
def test_skimmed_by_the_short_way_or_the_long_one_is_the_same(data: st.DataObject) -> None:
    made = bytearray(issued("a.example").der)
    for _ in range(data.draw(st.integers(0, 3))):
        # Lengths of the outer elements above all.
        made[data.draw(st.integers(0, 15) | st.integers(0, 120))] = data.draw(st.integers(0, 255))
    found = skim(bytes(made))
    if found is not None:
        assert found == _skim(bytes(made)), bytes(made).hex()
