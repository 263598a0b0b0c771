"""Values as databases have them."""

import base64
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.plugins.testing import make_certificate
from collectors.ca_database.values import to_der, to_instant, to_text

MADE = make_certificate()
AT = datetime(2026, 11, 24, 2, 49, 24, tzinfo=UTC)
SECONDS = int(AT.timestamp())


@pytest.mark.parametrize(
    "written",
    [
        AT,
        AT.replace(tzinfo=None),
        AT.astimezone(timezone(timedelta(hours=5, minutes=30))),
        SECONDS,
        float(SECONDS),
        SECONDS * 1000,
        str(SECONDS),
        "2026-11-24T02:49:24Z",
        "2026-11-24 02:49:24",
        b"2026-11-24 02:49:24+00:00",
        "2026-11-24 03:49:24 +0100 CET",
        "2026-11-24T02:49:24.000000000Z",
    ],
)
def test_an_instant_is_the_same_in_every_way_to_write_it(written: object) -> None:
    assert to_instant(written) == AT


@pytest.mark.parametrize(
    "written",
    [
        None,
        "",
        -1,
        0,
        "0000-00-00 00:00:00",
        "0001-01-01 00:00:00 +0000 UTC",
        datetime(1, 1, 1),  # noqa: DTZ001 - as some drivers give it
        True,
        [],
        1e300,
        "x",
    ],
)
def test_the_ways_to_write_never_are_none(written: object) -> None:
    assert to_instant(written) is None


def test_a_day_is_its_beginning() -> None:
    assert to_instant(date(2026, 11, 24)) == datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        MADE.der,
        memoryview(MADE.der),
        MADE.pem,
        MADE.pem.decode(),
        base64.b64encode(MADE.der),
        base64.encodebytes(MADE.der).decode(),
        b"Certificate:\n  Data:\n" + MADE.pem,
    ],
)
def test_a_certificate_is_the_same_in_every_way_to_write_it(written: object) -> None:
    assert to_der(written, "ca: row 7") == (MADE.der, None)


def test_nothing_is_no_error_and_something_else_is_one() -> None:
    assert to_der(None, "ca: row 7") == to_der(b"", "ca: row 7") == (None, None)
    for written in (b"???", "bm90IGEgY2VydGlmaWNhdGU=", bytes(2 << 20)):
        der, error = to_der(written, "ca: row 7")
        assert der is None
        assert error is not None
        assert error.message.startswith("ca: row 7: ")


@given(st.text() | st.binary() | st.integers() | st.floats() | st.none() | st.datetimes() | st.dates())
def test_no_value_is_too_strange(value: object) -> None:
    found = to_instant(value)
    assert found is None or found.tzinfo is not None
    to_der(value, "ca: row 7")
    to_text(value)


@given(st.binary(max_size=400))
def test_a_certificate_alone_is_what_any_pem_has(inside: bytes) -> None:
    der = b"\x30" + inside
    body = base64.encodebytes(der)
    alone = b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"
    for written in (
        alone,
        alone.replace(b"\n", b"\r\n"),
        b"\n\n" + alone,
        b"Certificate:\n" + alone,
        alone + alone,
    ):
        assert to_der(written, "here") == (der, None)
    # Padding that was lost in a copy is put back, whichever way is taken.
    assert to_der(alone.replace(b"=", b""), "here") == (der, None)
