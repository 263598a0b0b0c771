"""Instants as programs write and read them."""

from datetime import UTC, datetime

import pytest

from certwatch.model.instants import iso, read_instant


def test_what_was_written_is_read() -> None:
    instant = datetime(2026, 11, 24, 12, 30, 15, 250, tzinfo=UTC)
    assert read_instant(iso(instant)) == instant


def test_another_zone_is_read_as_it_is_said() -> None:
    assert read_instant("2026-11-24T13:30:00+01:00") == datetime(2026, 11, 24, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", [None, "", "yesterday", True, 17, "2026-13-01T00:00:00Z", "2026-11-01T00:00:00"]
)
def test_what_is_no_instant_or_has_no_zone_is_none(text: object) -> None:
    assert read_instant(text) is None
