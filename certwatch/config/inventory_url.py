"""The inventory's address alone: what reads the inventory needs no plug-in, no model and no whole config."""

from collections.abc import Mapping
from pathlib import Path

from certwatch.config import defaults
from certwatch.config.find import find, read_text
from certwatch.config.mistakes import Mistake, config_error


def inventory_url(path: Path | None, *, env: Mapping[str, str]) -> str:
    """As `certwatch.config.load.load` would give it, whatever else is wrong with the file. Raises ConfigError."""
    found = find(path, env)
    if found is None:
        return defaults.inventory(env)
    text = read_text(found)
    # The parser is imported when there is something to parse.
    from certwatch.config.document import DocumentError, parse
    from certwatch.config.secrets import Substitution, read_secret

    try:
        document = parse(text)
    except DocumentError as error:
        raise config_error(str(found), error.mistakes) from error
    top = document.value if isinstance(document.value, dict) else {}
    key = next((each for each in ("inventory", "inventory_file") if each in top), None)
    if key is None:
        return defaults.inventory(env)
    line = document.line((key,))
    if not isinstance(top[key], str):
        raise config_error(str(found), [Mistake(line=line, path=(key,), message="expected text")])
    substitution = Substitution(env)
    value: str = substitution.apply(top[key], (key,), document.lines)
    if substitution.mistakes:
        raise config_error(str(found), substitution.mistakes)
    if key == "inventory":
        return value
    try:
        return read_secret(value)
    except ValueError as error:
        raise config_error(str(found), [Mistake(line=line, path=(key,), message=str(error))]) from error
