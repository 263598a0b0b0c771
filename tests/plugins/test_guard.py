"""A plug-in's failure is its own: caught at the one place, counted, logged with its own frames."""

import logging

import pytest

from certwatch.plugins.collector import CollectError
from certwatch.plugins.guard import REPEAT_SECONDS, PluginFailed, Repeats, guard
from certwatch.telemetry.metrics import PLUGIN_FAILURES


def failures(kind: str) -> float:
    return float(PLUGIN_FAILURES.labels("rules", kind, "ZeroDivisionError")._value.get())


def test_whatever_it_raises_becomes_one_kind_of_failure_and_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = failures("odd")
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(PluginFailed, match="rule 'odd' failed: ZeroDivisionError"),
    ):
        with guard("rules", "odd"):
            _ = 1 / 0
    assert failures("odd") == before + 1
    assert [record.getMessage() for record in caplog.records] == ["plugin_failed"]


def test_a_collectors_own_word_passes() -> None:
    with pytest.raises(CollectError), guard("collectors", "prod"):
        raise CollectError("permission", "prod: forbidden")


def test_a_failure_that_repeats_is_said_once_a_minute_with_its_number() -> None:
    now = [1000.0]
    repeats = Repeats(lambda: now[0])
    assert [repeats.came("a") for _ in range(3)] == [1, None, None]
    assert repeats.came("b") == 1
    now[0] += REPEAT_SECONDS
    assert repeats.came("a") == 3
    assert repeats.came("a") is None


def test_a_rule_that_fails_everywhere_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    before = failures("everywhere")
    for _ in range(50):
        with pytest.raises(PluginFailed), guard("rules", "everywhere"):
            _ = 1 / 0
    assert failures("everywhere") == before + 50
    assert [record.getMessage() for record in caplog.records] == ["plugin_failed"]
