"""Durations as people write them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.plugins.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("48h", 172_800),
        ("30d", 2_592_000),
        ("2w", 1_209_600),
        ("1h30m", 5400),
        (60, 60),
        ("0", 0),
    ],
)
def test_what_people_write_is_understood(text: object, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "30 days", "-5m", None, True, []])
def test_anything_else_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="Write it as 90s, 15m, 48h, 30d or 2w"):
        parse_duration(text)


def test_an_endless_one_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        parse_duration("9" * 30 + "d")


@given(st.integers(0, 10**9))
def test_what_is_shown_reads_back(seconds: int) -> None:
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value", ["500000w", "36501d", 10**12, "9" * 400 + "d", 1e400, timedelta(days=40_000)]
)
def test_a_duration_that_leads_past_the_calendar_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="too long a duration: at most 36500d"):
        parse_duration(value)
