"""What a notify exporter takes, and when a digest is due."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from certwatch.config.load import read
from certwatch.config.mistakes import ConfigError
from exporters.notify import NotifyConfig
from exporters.notify.schedule import Schedule

URL = "json://user:s3cret@127.0.0.1/"
ZURICH = ZoneInfo("Europe/Zurich")


def test_a_list_of_urls_stands_for_a_route_and_is_never_shown() -> None:
    config = NotifyConfig.model_validate({"urls": [URL], "owners": {"payments": URL, "web": [URL, URL]}})
    routes = config.routes()
    assert sorted(routes) == ["", "payments", "web"]
    assert routes["web"].read() == [URL]
    assert "s3cret" not in repr(config) + config.model_dump_json()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "nobody would be told"),
        ({"urls": [URL], "digest": "daily"}, "the whole as 24h at 08:00"),
        ({"urls": [URL], "digest": "at eight"}, "write it as 24h at 08:00"),
        ({"urls": [URL], "digest": "24h at 25:00"}, "not a time of day"),
        ({"urls": [URL], "digest": "36h at 08:00"}, "whole days"),
        ({"urls": [URL], "digest": "7h"}, "whole days"),
        ({"urls": [URL], "digest": "5m"}, "at least 1h"),
        ({"urls": [URL], "timezone": "Europe/Nowhere"}, "unknown here"),
        ({"urls": [URL], "timezone": "../etc/passwd"}, "unknown here"),
        ({"urls": [URL], "repeat": "5s"}, "at least 1m"),
        ({"urls": [URL], "digest": False, "immediate": []}, "nothing would ever be told"),
        ({"urls": [URL], "immediate": ["page", "page"]}, "stands there twice"),
        ({"owners": {"payments": {}}}, "one of urls and urls_file"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_showing_a_secret(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        NotifyConfig.model_validate(keys)
    text = (
        f"exporters: [{{kind: notify, {str(keys).replace('True', 'true').replace('False', 'false')[1:-1]}}}]"
    )
    with pytest.raises(ConfigError) as caught:
        read(text, env={"HOME": "/root"})
    assert said.replace("\\", "") in str(caught.value.messages)
    assert "s3cret" not in str(caught.value.messages)


def test_a_digest_is_due_at_its_time_of_day_where_the_reader_is() -> None:
    daily = Schedule(every=timedelta(hours=24), at=time(8, 0))
    winter = datetime(2026, 11, 24, 6, 59, tzinfo=UTC)
    assert daily.last(winter, ZURICH) == datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
    assert daily.next(winter, ZURICH) == datetime(2026, 11, 24, 7, 0, tzinfo=UTC)
    summer = datetime(2026, 7, 1, 6, 0, tzinfo=UTC)
    assert daily.last(summer, ZURICH) == summer


def test_a_weekly_digest_is_due_on_mondays() -> None:
    weekly = Schedule(every=timedelta(days=7), at=time(8, 0))
    now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    assert weekly.last(now, ZoneInfo("UTC")) == datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
    assert weekly.next(now, ZoneInfo("UTC")) == datetime(2026, 11, 30, 8, 0, tzinfo=UTC)


@given(
    st.integers(0, 20 * 365 * 86_400).map(
        lambda seconds: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    ),
    st.sampled_from([1, 2, 3, 4, 6, 8, 12, 24, 48, 168, 720]),
    st.times(),
    st.sampled_from(["UTC", "Europe/Zurich", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"]),
)
def test_the_last_is_past_the_next_is_ahead_and_nothing_lies_between(
    moment: datetime, hours: int, at: time, zone: str
) -> None:
    schedule = Schedule(every=timedelta(hours=hours), at=at.replace(second=0, microsecond=0))
    now, there = moment, ZoneInfo(zone)
    last, following = schedule.last(now, there), schedule.next(now, there)
    assert last <= now < following
    assert schedule.last(following - timedelta(microseconds=1), there) == last
    # A day of 23 or 25 hours, at most.
    assert following - last <= timedelta(hours=hours + 1)
