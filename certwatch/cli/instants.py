"""Instants and durations as people type them on the command line."""

from datetime import datetime, timedelta

import click

from certwatch.cli.failure import USAGE, Failed
from certwatch.model.instants import iso, left, minute, parse_instant, rough

__all__ = ["INSTANT", "duration", "iso", "left", "minute", "rough"]


def duration(text: str) -> timedelta:
    """As in the config: 90s, 15m, 48h, 30d."""
    # It brings pydantic along: only those who give a duration pay for it.
    from certwatch.plugins.duration import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise Failed(USAGE, str(error)) from error


class InstantType(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return parse_instant(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


INSTANT = InstantType()
