"""Structured logs: one event name a happening, fields beside it.

log = get_logger(__name__)
log.warning("scan_partial", collector=name, unseen=12)
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO


class EventLogger:
    """Writes through the standard library's logging, so that any handler and any level set-up works."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, **fields: object) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._log(logging.ERROR, event, fields)

    def _log(self, level: int, event: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", event, extra={"fields": fields})


def get_logger(name: str) -> EventLogger:
    return EventLogger(logging.getLogger(name))


def _record(record: logging.LogRecord) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "event": record.getMessage(),
        "logger": record.name,
    }
    entry.update(getattr(record, "fields", {}))
    if record.exc_info:
        entry["exception"] = logging.Formatter().formatException(record.exc_info)
    return entry


class JSONFormatter(logging.Formatter):
    """One JSON object a line, for programs."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_record(record), default=str, ensure_ascii=True)


class LineFormatter(logging.Formatter):
    """time level event key=value …, for people. Values are quoted where needed: nothing from outside can start
    a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        entry = _record(record)
        entry.pop("logger")
        exception = entry.pop("exception", None)
        head = f"{entry.pop('time')} {entry.pop('level'):7} {entry.pop('event')}"
        pairs = "".join(f" {key}={_shown(value)}" for key, value in entry.items())
        return head + pairs + (f"\n{exception}" if exception else "")


def _shown(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(" =\"'") else json.dumps(text)


def set_up(*, level: str = "info", style: str = "line", stream: TextIO | None = None) -> None:
    """`style`: "line" or "json". Logs go to standard error unless told otherwise: data alone is on stdout."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JSONFormatter() if style == "json" else LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("apscheduler", "httpx", "httpcore", "uvicorn.access", "asyncio"):
        logging.getLogger(noisy).setLevel("WARNING")
