"""What a web server's Date header says of its clock."""

from datetime import datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.plugins.testing import EPOCH
from collectors.revocation.clocks import clock_facts


def dated(at: datetime, **more: str) -> dict[str, str]:
    return {"date": format_datetime(at, usegmt=True), **more}


@pytest.mark.parametrize(("seconds", "minutes"), [(0, None), (59, None), (-59, None), (61, 1), (-7200, -120)])
def test_it_is_measured_in_whole_minutes(seconds: int, minutes: int | None) -> None:
    found = clock_facts(dated(EPOCH + timedelta(seconds=seconds)), EPOCH)
    assert found == ({} if minutes is None else {"clock_offset_minutes": minutes})


def test_an_answer_out_of_a_cache_is_as_old_as_the_cache_says() -> None:
    made = EPOCH - timedelta(hours=2)
    assert clock_facts(dated(made, age="7200"), EPOCH) == {}
    assert clock_facts(dated(made, age="much"), EPOCH) == {}


@given(st.dictionaries(st.sampled_from(["date", "age"]), st.text(max_size=40)))
def test_nonsense_says_nothing_and_breaks_nothing(headers: dict[str, str]) -> None:
    for value in clock_facts(headers, EPOCH).values():
        assert isinstance(value, int)
