"""Regular expressions of conditions, by RE2, as CEL has them (its language definition, "Regular expressions"): in a time that follows
from the text's length. The library's own engine compiles a pattern anew at each use, some of them for a hundredth of a second."""

from functools import lru_cache
from typing import Any

#: What `matches` is called where the library must not take its own.
FUNCTION = "matches_re2"
#: Bytes that one compiled pattern may take.
MOST_MEMORY = 1 << 20


class BadPattern(Exception):
    """The message says why, in RE2's words."""


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Any:
    """Raises BadPattern."""
    # Only who uses one pays for the library.
    import re2

    options = re2.Options()
    options.max_mem = MOST_MEMORY
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0] if error.args else error
        raise BadPattern(said.decode(errors="replace") if isinstance(said, bytes) else str(said)) from error


def matches(text: str, pattern: str) -> bool:
    """Somewhere in it, as CEL has it. Raises ValueError."""
    try:
        return compiled(pattern).search(text) is not None
    except BadPattern as error:
        raise ValueError(str(error)) from error
