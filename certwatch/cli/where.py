"""`--where`: a condition on entries of the inventory, or on findings."""

from collections.abc import Callable
from datetime import datetime

from certwatch.cli.failure import USAGE, Failed
from certwatch.inventory.store import Entry
from certwatch.model.finding import Finding
from certwatch.model.sighting import Served


def where_filter(text: str, now: datetime) -> Callable[[Entry], bool]:
    # Only who gives a condition pays for the library.
    from certwatch.expressions import ExpressionError
    from certwatch.inventory import where

    try:
        return where.where_filter(text, now)
    except ExpressionError as error:
        raise Failed(USAGE, f"--where: {error.message}") from error


def findings_filter(text: str, now: datetime) -> Callable[[Finding, Served | None], bool]:
    from certwatch.expressions import ExpressionError, findings

    try:
        return findings.findings_filter(text, now)
    except ExpressionError as error:
        raise Failed(USAGE, f"--where: {error.message}") from error
