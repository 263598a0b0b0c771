"""Exports of AD CS: as certutil writes them in several languages, encodings and orders of dates. AD CS itself is not to be had
here: columns, dispositions and literals are those of certsrv.h and of a public export."""

import io
import os
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.model.observation import Observation
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import EPOCH, FakeClock, Issued, make_ca, make_certificate
from collectors.ca_database import CADatabaseCollector
from collectors.ca_database.adcs import source
from collectors.ca_database.adcs.dates import Dates
from collectors.ca_database.adcs.export import NoExport, encoding_of, rows
from collectors.ca_database.adcs.source import ADCSReading, ADCSSource
from collectors.ca_database.record import ReadFailed

ROOT = make_ca("Corp Issuing CA")
ENGLISH = (
    "Issued Request ID,Serial Number,Certificate Effective Date,Certificate Expiration Date,Issued Common Name,"
    "Certificate Template,Request Disposition,Request Submission Date,Effective Revocation Date,Revocation Reason,"
    "Requester Name,Binary Certificate"
)
GERMAN = (
    "Anforderungs-ID,Seriennummer,Gültig ab,Ablaufdatum,Allgemeiner Name,Zertifikatvorlage,Anforderungsdisposition,"
    "Übermittlungsdatum,Gültiges Sperrdatum,Sperrgrund,Antragstellername,Binäres Zertifikat"
)


@cache
def issued(serial: int) -> Issued:
    return make_certificate(issuer=ROOT, serial_number=serial, names=(f"dns:host-{serial}.example",))


def us(at: datetime) -> str:
    return (
        f"{at.month}/{at.day}/{at.year} {at.hour % 12 or 12}:{at.minute:02} {'PM' if at.hour >= 12 else 'AM'}"
    )


def german(at: datetime) -> str:
    return f"{at:%d.%m.%Y %H:%M}"


def swedish(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def line(
    id: int,
    disposition: str,
    certificate: Issued | None = None,
    *,
    write: Any = us,
    revoked: datetime | None = None,
    reason: str = "EMPTY",
    submitted: datetime = EPOCH,
    requester: str = "CORP\\alice",
    shift: timedelta = timedelta(0),
) -> str:
    fields = [str(id), f"{id:02x}" if certificate else "EMPTY"]
    if certificate is not None:
        begin, end = EPOCH - timedelta(days=30), EPOCH + timedelta(days=60)
        fields += [write(begin + shift), write(end + shift), f"host-{id}.example"]
    else:
        fields += ["EMPTY", "EMPTY", "EMPTY"]
    fields += [
        "1.3.6.1.4.1.311.21.8.1.2 Web",
        disposition,
        write(submitted + shift),
        write(revoked + shift) if revoked else "EMPTY",
        reason,
        requester,
        certificate.pem.decode().strip() if certificate else "EMPTY",
    ]
    return ",".join('"' + each.replace('"', '""') + '"' for each in fields)


def export(path: Path, header: str, *lines: str, encoding: str = "utf-8") -> Path:
    end = "\r\n"
    text = end.join(
        [",".join(f'"{each}"' for each in header.split(",")), *lines, "CertUtil: -view command completed."]
    )
    path.write_bytes((text + end).encode(encoding))
    return path


def looks(path: Path) -> tuple[dict[str, Observation], Observation]:
    """By serial number, and of the database."""
    config = CADatabaseCollector.Config.model_validate({"preset": "adcs", "path": str(path)})
    collector = CADatabaseCollector("corp", config, CollectorContext(clock=FakeClock()))
    said = [each for each in collector._looks() if isinstance(each, Observation)]
    *records, database = said
    return {each.location.partition("corp/")[2].partition("?")[0]: each for each in records}, database


WHEN = datetime(2026, 10, 5, 14, 33, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "issued_as", "revoked_as", "write", "encoding"),
    [
        (ENGLISH, "20 -- Issued", "21 -- Revoked", us, "utf-8"),
        (GERMAN, "20 -- Ausgestellt", "21 -- Gesperrt", german, "utf-16"),
        (GERMAN, "20 -- Ausgestellt", "21 -- Gesperrt", german, "cp1252"),
        (ENGLISH, "0x14 (20) -- Utfärdat", "0x15 (21) -- Återkallat", swedish, "utf-8-sig"),
    ],
)
def test_an_export_is_read_in_any_language_encoding_and_order_of_dates(
    tmp_path: Path, header: str, issued_as: str, revoked_as: str, write: Any, encoding: str
) -> None:
    path = export(
        tmp_path / "ca.csv",
        header,
        line(3, "15 -- CA", ROOT, write=write),
        line(10, issued_as, issued(10), write=write, requester='CORP\\Müller, "Max"'),
        line(11, revoked_as, issued(11), write=write, revoked=WHEN, reason="1 -- Key Compromise"),
        line(12, "9 -- Pending", write=write, submitted=EPOCH - timedelta(days=3)),
        line(13, "31 -- Denied", write=write),
        encoding=encoding,
    )
    records, database = looks(path)
    assert set(records) == {"0a", "0b"}
    assert records["0a"].chain == (issued(10).der,)
    assert records["0a"].facts == {
        "ca_status": "issued",
        "ca_requester": 'CORP\\Müller, "Max"',
        "ca_profile": "1.3.6.1.4.1.311.21.8.1.2 Web",
    }
    revoked = records["0b"].facts
    assert (revoked["ca_status"], revoked["revocation_reason"]) == ("revoked", "keyCompromise")
    assert revoked["revoked_at"] == "2026-10-05T14:33:00Z"
    assert (database.facts["ca_pending"], database.facts["ca_pending_since"]) == (1, "2026-10-29T12:00:00Z")


def test_local_time_is_told_from_the_certificates_when_it_was_not_exported_as_gmt(tmp_path: Path) -> None:
    hours = timedelta(hours=2)
    path = export(
        tmp_path / "ca.csv",
        ENGLISH,
        line(10, "20 -- Issued", issued(10), shift=hours),
        line(11, "21 -- Revoked", issued(11), revoked=WHEN, reason="4 -- Superseded", shift=hours),
    )
    assert looks(path)[0]["0b"].facts["revoked_at"] == "2026-10-05T14:33:00Z"


def test_the_newest_export_of_a_folder_has_the_last_word_on_a_request(tmp_path: Path) -> None:
    old = export(tmp_path / "1.csv", ENGLISH, *[line(n, "20 -- Issued", issued(n)) for n in (10, 11)])
    new = export(
        tmp_path / "2.csv",
        ENGLISH,
        line(11, "21 -- Revoked", issued(11), revoked=WHEN, reason="0 -- Unspecified"),
        line(12, "20 -- Issued", issued(12)),
    )
    os.utime(old, ns=(1, 1))
    os.utime(new, ns=(2, 2))
    records, _ = looks(tmp_path)
    assert {serial: each.facts["ca_status"] for serial, each in records.items()} == {
        "0a": "issued",
        "0b": "revoked",
        "0c": "issued",
    }


def test_what_failed_and_was_denied_since_is_counted(tmp_path: Path) -> None:
    path = export(
        tmp_path / "ca.csv", ENGLISH, line(10, "20 -- Issued", issued(10)), line(11, "31 -- Denied")
    )
    first = ADCSSource(str(path)).open("")
    assert isinstance(first, ADCSReading)
    assert len([*first.records()]) == 1
    # Nobody knows since when these are there.
    assert first.outcomes() == []
    assert ADCSSource(str(path)).open(first.mark()) is None
    export(
        path, ENGLISH, line(10, "20 -- Issued", issued(10)), line(11, "31 -- Denied"), line(12, "31 -- Denied"),
        line(13, "30 -- Failed"),
    )  # fmt: skip
    second = ADCSSource(str(path)).open(first.mark())
    assert second is not None
    assert len([*second.records()]) == 1
    assert [each.outcome for each in second.outcomes()] == ["denied", "failed"]


def test_a_broken_certificate_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    broken = line(10, "20 -- Issued", issued(10)).replace("MII", "!!!")
    path = export(tmp_path / "ca.csv", ENGLISH, broken, line(11, "20 -- Issued", issued(11)))
    records, _ = looks(path)
    error = next(each.error for serial, each in records.items() if serial == "0a")
    assert error is not None
    assert f"{path}:" in error.message
    assert records["0b"].chain == (issued(11).der,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\r\n1,2\r\n", "has 2 columns (a, b), of which none is RawCertificate"),
        ("", "has 0 columns"),
        ('"unfinished', "columns"),
        ("x" * 200_000 + ",y", "field larger than"),
    ],
)
def test_what_is_no_export_is_told_with_the_command_to_use(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "ca.csv").write_text(content)
    reading = ADCSSource(str(tmp_path)).open("")
    assert reading is not None
    with pytest.raises(ReadFailed) as failed:
        list(reading.records())
    assert message in failed.value.message


def test_a_path_without_exports_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.csv"):
        with pytest.raises(ReadFailed, match="Name an export of certutil's"):
            ADCSSource(str(path)).open("")


def test_dates_are_not_guessed_where_nothing_was_learnt() -> None:
    dates = Dates()
    assert dates.read("10/5/2026 2:33 PM") is None
    # A calendar that is not ours (Thai).
    dates.learn("5/10/2569 14:33", WHEN)
    assert dates.read("6/10/2569 14:33") is None


def test_an_order_that_fits_more_dates_is_taken() -> None:
    dates = Dates()
    fifth_of_may = datetime(2026, 5, 5, 12, 0, tzinfo=UTC)
    dates.learn(us(fifth_of_may), fifth_of_may)
    dates.learn(us(WHEN), WHEN)
    assert dates.read(us(datetime(2026, 2, 1, 9, 8, tzinfo=UTC))) == datetime(2026, 2, 1, 9, 8, tzinfo=UTC)


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reading(data: bytes) -> None:
    text = data.decode(encoding_of(data), "replace")
    try:
        for row in rows(io.StringIO(text, newline="")):
            row.number("disposition")
    except NoExport:
        pass
    dates = Dates()
    dates.learn(text, WHEN)
    dates.read(text)


def test_a_link_in_a_circle_among_the_exports_ends_no_reading(tmp_path: Path) -> None:
    (tmp_path / "circle.csv").symlink_to("circle.csv")
    (tmp_path / "a.csv").write_text(ENGLISH + "\n" + line(7, "20 -- Issued", issued(7)))
    reading = ADCSSource(str(tmp_path)).open("")
    assert reading is not None
    assert [each.serial for each in reading.records()] == ["07"]


def test_a_line_without_an_end_is_told_and_not_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_LINE", 1000)
    path = tmp_path / "a.csv"
    path.write_text(ENGLISH + "\n" + "x" * 5000)
    with pytest.raises(ReadFailed, match="a line of more than 1000 characters"):
        list(ADCSReading([str(path)], "", 0).records())


def test_a_pipe_in_place_of_an_export_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    reading = ADCSSource(str(tmp_path / "a.csv")).open("")
    assert reading is not None
    with pytest.raises(ReadFailed, match="is no file"):
        list(reading.records())
