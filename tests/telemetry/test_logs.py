"""Logs: one event name a happening, fields beside it, nothing from outside can forge a line."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from certwatch.telemetry import logs


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_a_line_has_the_event_and_its_fields() -> None:
    out = io.StringIO()
    logs.set_up(stream=out)
    logs.get_logger("certwatch.engine").warning("scan_partial", collector="edge", unseen=12)
    assert out.getvalue().endswith(" warning scan_partial collector=edge unseen=12\n")


def test_a_value_from_outside_cannot_start_a_line_of_its_own() -> None:
    out = io.StringIO()
    logs.set_up(stream=out)
    logs.get_logger("x").info("look_failed", message='bad\n2026-01-01T00:00:00Z error forged "x"\x1b[31m')
    assert out.getvalue().count("\n") == 1
    assert "\x1b" not in out.getvalue()


def test_json_lines_keep_types_and_hold_one_object_each() -> None:
    out = io.StringIO()
    logs.set_up(style="json", stream=out)
    logs.get_logger("x").error("write_failed", reason="full", attempts=3)
    entry = json.loads(out.getvalue())
    assert (entry["event"], entry["level"], entry["reason"], entry["attempts"]) == (
        "write_failed",
        "error",
        "full",
        3,
    )


def test_below_the_level_nothing_is_written() -> None:
    out = io.StringIO()
    logs.set_up(level="warning", stream=out)
    logs.get_logger("x").info("scan_started")
    assert out.getvalue() == ""
