"""Durations as people write them in a config: "90s", "15m", "48h", "30d", "2w"."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
#: Longer ones lead past the calendar's end when they are added to an instant.
LONGEST = timedelta(days=36_500)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def parse_duration(value: object) -> timedelta:
    """A number is seconds; text is numbers with units, "1h30m". Raises ValueError saying what is expected."""
    try:
        duration = _parse(value)
    except (OverflowError, ValueError) as error:
        raise ValueError(f"{value!r} is too long a duration: at most {LONGEST.days}d") from error
    if duration is None:
        raise ValueError(f"not a duration: {value!r}. Write it as 90s, 15m, 48h, 30d or 2w")
    if abs(duration) > LONGEST:
        raise ValueError(f"{value!r} is too long a duration: at most {LONGEST.days}d")
    return duration


def _parse(value: object) -> timedelta | None:
    """None: it is none."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return timedelta(seconds=value)
    if isinstance(value, str):
        text = value.strip().replace(" ", "")
        if text.isdigit() and text.isascii():
            return timedelta(seconds=int(text))
        if _WHOLE.fullmatch(text):
            return timedelta(
                seconds=sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
            )
    return None


def format_duration(value: timedelta) -> str:
    """The shortest form that `parse_duration` reads back, in the largest unit that divides it."""
    seconds = value.total_seconds()
    for unit in ("w", "d", "h", "m", "s"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{int(seconds / _UNITS[unit])}{unit}"
    return f"{seconds:g}s"


def _positive(value: object) -> timedelta:
    duration = parse_duration(value)
    if duration < timedelta(0):
        raise ValueError("a duration cannot be negative")
    return duration


#: A `timedelta` in a config model, not negative.
Duration = Annotated[
    timedelta,
    BeforeValidator(_positive),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": ["string", "number"], "examples": ["90s", "15m", "48h", "30d"]}),
]
