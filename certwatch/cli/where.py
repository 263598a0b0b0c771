"""`--where`: a condition on entries of the inventory."""

from collections.abc import Callable
from datetime import datetime

from certwatch.cli.failure import USAGE, Failed
from certwatch.inventory.store import Entry


def where_filter(text: str, now: datetime) -> Callable[[Entry], bool]:
    # Only who gives a condition pays for the library.
    from certwatch.expressions import ExpressionError
    from certwatch.inventory import where

    try:
        return where.where_filter(text, now)
    except ExpressionError as error:
        raise Failed(USAGE, f"--where: {error.message}") from error
