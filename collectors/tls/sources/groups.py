"""Prometheus' target lists (file_sd, http_sd): bytes → targets. What is no target is counted, and the rest taken."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from certwatch.doors import yaml_tree
from collectors.tls.targets import Target, parse

#: Of one list; more are left out, and said.
MOST_TARGETS = 1_000_000
#: Of one entry and of one label, in characters.
MOST_CHARACTERS = 2048
MOST_LABELS = 50
#: Of a list in YAML, which takes a hundred times its size while it is read.
MOST_YAML_BYTES = 16 << 20
#: Of Prometheus itself; they say nothing of the target.
_META = "__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    targets: tuple[Target, ...] = ()
    #: Entries that are no targets, the first of them with what is wrong with it, and how many.
    refused: int = 0
    example: str = ""


class NotAList(Exception):
    """It is no target list. The message says why, without where."""


def read(data: bytes, *, trusted: bool) -> Listed:
    """`trusted`: YAML is taken as well as JSON, networks as well as single endpoints. Raises NotAList."""
    groups = _document(data, yaml_too=trusted)
    if not isinstance(groups, list):
        raise NotAList("not a list of target groups, [{targets: [host:port, …], labels: {…}}, …]")
    found: dict[str, Target] = {}
    refused, example = 0, ""
    for group in groups:
        if not isinstance(group, dict) or not isinstance(group.get("targets"), list):
            refused, example = refused + 1, example or "a group without targets"
            continue
        labels = _labels(group.get("labels"))
        for text in group["targets"]:
            if len(found) >= MOST_TARGETS:
                raise NotAList(f"more than {MOST_TARGETS} targets")
            try:
                target = _target(text, labels, trusted=trusted)
            except ValueError as error:
                refused, example = refused + 1, example or str(error)[:300]
                continue
            if target is not None:
                # Who names it first says its labels, as Prometheus would have two.
                found.setdefault(target.text, target)
    return Listed(targets=tuple(found.values()), refused=refused, example=example)


def _document(data: bytes, *, yaml_too: bool) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        if not yaml_too:
            raise NotAList("not JSON") from error
    if len(data) > MOST_YAML_BYTES:
        raise NotAList(f"YAML of more than {MOST_YAML_BYTES} bytes. Write it as JSON")
    try:
        return yaml_tree.load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark is not None else ""
        raise NotAList(
            f"neither JSON nor YAML: {line}{getattr(error, 'problem', None) or _why(error)}"
        ) from error


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, yaml_tree.TooDeep) else "unreadable"


def _labels(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        return ()
    kept = [
        (name[:200], str(text)[:MOST_CHARACTERS])
        for name, text in value.items()
        if isinstance(name, str) and isinstance(text, str | int | float) and not name.startswith(_META)
    ]
    return tuple(sorted(kept[:MOST_LABELS]))


def _target(text: Any, labels: tuple[tuple[str, str], ...], *, trusted: bool) -> Target | None:
    """None: it speaks no TLS (an http:// URL). Raises ValueError."""
    if not isinstance(text, str):
        # Not shown: what YAML's aliases make of it may have no end.
        raise ValueError(f"a {type(text).__name__} is not a target")
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"{text[:60]!r}…: too long for a target")
    lower = text.strip().lower()
    if lower.startswith("http://"):
        return None
    bare = text.strip()
    if lower.startswith("https://"):
        # As blackbox_exporter's http modules have it: what is behind the authority is another matter.
        bare = bare[8:].partition("/")[0].partition("?")[0].partition("#")[0].rpartition("@")[2]
    target = parse(bare)
    if target.listening or (not trusted and not is_single(target)):
        raise ValueError(f"{text!r}: not one endpoint")
    return replace(target, labels=labels)


def is_single(target: Target) -> bool:
    several = target.network is not None and target.network.num_addresses > 1
    return not several and sum(map(len, target.probed_ports)) == 1


def only_first(targets: Iterable[Target]) -> list[Target]:
    """Each text once."""
    return list({target.text: target for target in reversed(list(targets))}.values())[::-1]
