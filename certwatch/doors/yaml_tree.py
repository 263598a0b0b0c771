"""YAML from elsewhere as plain values: read fast, and never deeper than the reader bears."""

from typing import Any

import yaml

#: What people write is five or ten levels deep. libyaml's composer is recursive in C and unguarded: some ten thousand
#: levels end the process by SIGSEGV.
MOST_LEVELS = 64

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class TooDeep(ValueError):
    """Nested deeper than `MOST_LEVELS`."""


def load(data: bytes) -> Any:
    """One document of plain values. Aliases are taken: the same value may stand in many places, so walk it no deeper than
    you must. Raises yaml.YAMLError and ValueError (TooDeep among them)."""
    depth = 0
    for event in yaml.parse(data, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MOST_LEVELS:
                raise TooDeep(f"nested deeper than {MOST_LEVELS} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    # S506: one of the safe loaders; the one in C is ten times as fast.
    return yaml.load(data, Loader=_LOADER)  # noqa: S506
