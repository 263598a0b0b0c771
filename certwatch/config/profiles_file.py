"""Profiles of the embedded CA in a file of their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from certwatch.config.ca import ProfileKeys
from certwatch.config.document import DocumentError, parse
from certwatch.config.find import read_text
from certwatch.config.mistakes import config_error
from certwatch.config.reading import Reading


def read_profiles(path: Path, *, env: Mapping[str, str]) -> dict[str, ProfileKeys]:
    """By name. Raises ConfigError with all that is wrong."""
    try:
        document = parse(read_text(path))
    except DocumentError as error:
        raise config_error(str(path), error.mistakes) from error
    reading = Reading(document, env, file=str(path))
    top: Any = reading.value if reading.value is not None else {}
    found: dict[str, ProfileKeys] = {}
    if not isinstance(top, dict):
        reading.say((), "expected profiles by name, each with its settings")
        top = {}
    for name, value in top.items():
        if not isinstance(value, dict):
            reading.say((name,), "expected keys with values")
            continue
        keys = reading.validate(ProfileKeys, value, (name,))
        if keys is not None:
            found[name] = keys
    if reading.mistakes:
        raise config_error(str(path), reading.mistakes)
    return found
