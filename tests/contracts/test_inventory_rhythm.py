"""Every store: which leaves were replaced at a place, and when."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from certwatch.plugins.testing import EPOCH, make_certificate
from tests.support.inventories import STORES, Tried, opened

URI = "tls://203.0.113.7:443/"
DAY = timedelta(days=1)


@pytest.fixture(params=STORES)
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tried]:
    with opened(request.param, tmp_path) as inventory:
        yield inventory


def renew(tried: Tried, times: int) -> None:
    for number in range(times):
        begin = EPOCH + 60 * number * DAY
        leaf = make_certificate(serial_number=number + 1, not_before=begin, not_after=begin + 90 * DAY)
        tried.record(tried.look(URI, leaf))
        tried.clock.advance(days=60)


def test_what_was_replaced_is_told_with_its_validity_and_what_was_left(tried: Tried) -> None:
    renew(tried, 3)
    (due,) = tried.reader.due(tried.clock(), 10)
    assert [round(each.left, 2) for each in due.renewals] == [0.33, 0.33]
    assert [each.not_before for each in due.renewals] == [EPOCH, EPOCH + 60 * DAY]


def test_one_that_is_the_first_was_preceded_by_none(tried: Tried) -> None:
    renew(tried, 1)
    (due,) = tried.reader.due(tried.clock(), 10)
    assert due.renewals == ()


def test_the_latest_ones_are_enough(tried: Tried) -> None:
    renew(tried, 12)
    (due,) = tried.reader.due(tried.clock(), 10)
    assert len(due.renewals) == 8
    assert due.renewals[-1].not_before == EPOCH + 600 * DAY
