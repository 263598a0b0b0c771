"""What pydantic says of a value, in words for the one who wrote it; what a model knows of its keys."""

import difflib
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from certwatch.config.mistakes import Path

#: What people write for what we call otherwise.
OTHER_WORDS = {
    "interval": "every",
    "schedule": "every",
    "period": "every",
    "frequency": "every",
    "type": "kind",
    "tags": "labels",
    "hosts": "targets",
    "host": "targets",
    "files": "paths",
    "file": "paths",
    "path": "paths",
    "directory": "paths",
    "database": "inventory",
    "ignore": "exclude",
    "team": "owner",
    "owner": "team",
    "loglevel": "log",
    "logging": "log",
    "if": "when",
    "condition": "when",
    "url": "urls",
    "address": "listen",
}


def nearest(key: str, known: list[str]) -> str | None:
    """The known key that is probably meant."""
    candidates = {each: each for each in known}
    for other, ours in OTHER_WORDS.items():
        if ours in known:
            candidates.setdefault(other, ours)
    near = difflib.get_close_matches(key.lower(), list(candidates), n=1, cutoff=0.65)
    return candidates[near[0]] if near else None


def unknown_key(key: str, known: list[str]) -> str:
    near = nearest(key, known)
    if near is not None:
        return f'unknown key, did you mean "{near}"?'
    return f"unknown key (known here: {', '.join(sorted(known)) or 'none'})"


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Models that a field's type speaks of: `list[Inner] | None` → Inner."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not None:
        for each in get_args(annotation):
            yield from models_in(each)


def keys_of(model: type[BaseModel]) -> list[str]:
    """Keys as the file writes them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def secrets_of(model: type[BaseModel]) -> frozenset[str]:
    """Keys whose values are secrets."""
    return frozenset(
        field.alias or name
        for name, field in model.model_fields.items()
        if any(each in (SecretStr, SecretBytes) for each in _plain_types(field.annotation))
    )


def _plain_types(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from _plain_types(each)
    else:
        yield annotation


def known_at(model: type[BaseModel], path: Path) -> list[str]:
    """The keys that are known in the mapping at `path`, seen from a value of `model`."""
    models = [model]
    for part in path:
        if isinstance(part, int):
            continue
        models = [
            inner
            for each in models
            for name, field in each.model_fields.items()
            if part in (name, field.alias)
            for inner in models_in(field.annotation)
        ] or models
    return list(dict.fromkeys(key for each in models for key in keys_of(each)))


def complaints(
    error: ValidationError, model: type[BaseModel], value: Any, *, is_secret: Callable[[Path], bool]
) -> dict[Path, str]:
    """Path below `value` → what is wrong there, without any value that is secret."""
    said: dict[Path, str] = {}
    short: set[Path] = set()
    for each in error.errors(include_url=False):
        path = _path(each, value)
        message = _message(each, path, model, secret=is_secret(path))
        if path in said and message not in said[path]:
            message = f"{said[path]}, or {message}"
        said[path] = message
        if each["type"] == "too_short":
            short.add(path)
    # A list whose items are all refused is not empty.
    return {
        path: message
        for path, message in said.items()
        if path not in short or not any(other[: len(path)] == path and other != path for other in said)
    }


def _path(error: ErrorDetails, value: Any) -> Path:
    """pydantic's location without what only its types know (a branch of a union, a validator)."""
    path: list[str | int] = []
    for index, part in enumerate(error["loc"]):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif error["type"] != "missing" or index < len(error["loc"]) - 1:
            continue
        path.append(part)
    return tuple(path)


#: By type of pydantic's error: what was expected.
_EXPECTED = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "dict": "keys with values",
    "mapping": "keys with values",
    "model": "keys with values",
    "path": "a path",
    "url": "a URL",
}


def _message(error: ErrorDetails, path: Path, model: type[BaseModel], *, secret: bool) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return unknown_key(str(path[-1]) if path else "", known_at(model, path[:-1]))
    if kind in ("value_error", "assertion_error"):
        if secret:
            return "is not accepted (its value is not shown)"
        return str(context.get("error", error["msg"]))
    if kind in ("literal_error", "enum"):
        return f"expected {context.get('expected', '')}"
    bound = _bound(kind, context)
    if bound is not None:
        return bound
    if kind == "string_pattern_mismatch":
        return "not a valid name: letters, digits, hyphens, and nothing in front but a letter or a digit"
    for prefix, expected in _EXPECTED.items():
        if kind.startswith(prefix) and kind.endswith(
            ("_type", "_parsing", "_from_float", "_attributes_type")
        ):
            return f"expected {expected}, got {_shown(error['input'], secret=secret)}"
    text = error["msg"]
    return text[:1].lower() + text[1:]


def _bound(kind: str, context: Mapping[str, Any]) -> str | None:
    if kind in ("too_short", "string_too_short"):
        least = context.get("min_length")
        return "must not be empty" if least == 1 else f"must have at least {least}"
    if kind in ("too_long", "string_too_long"):
        return f"must have at most {context.get('max_length')}"
    for limit, key, words in (
        ("greater_than", "gt", "must be more than"),
        ("greater_than_equal", "ge", "must be at least"),
        ("less_than", "lt", "must be less than"),
        ("less_than_equal", "le", "must be at most"),
    ):
        if kind == limit:
            return (
                f"{words} {context.get(key):g}"
                if isinstance(context.get(key), float)
                else (f"{words} {context.get(key)}")
            )
    return None


def _shown(value: Any, *, secret: bool) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number" if secret else f"{value}"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "a list"
    return "keys with values"
