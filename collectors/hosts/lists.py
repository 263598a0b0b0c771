"""Lists of hosts: Prometheus' file_sd (JSON or YAML), or one host a line. Pure; bounded by the file's size."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

import yaml

from certwatch.doors import yaml_tree

DEFAULT_PORT = 443
#: Of one file.
MOST = 1_000_000
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    #: A name in A-labels, lower case, or an address.
    name: str
    port: int = DEFAULT_PORT
    labels: Mapping[str, str] = field(default_factory=dict)


class ListError(Exception):
    """What cannot be read as a list, and where."""


def parse_host(text: str, labels: Mapping[str, str] | None = None) -> Host:
    """ "www.example.com", "www.example.com:8443", "192.0.2.1:443", "[2001:db8::1]:443", "https://www.example.com/x". Raises
    ValueError."""
    text = text.strip()
    if "://" in text:
        parts = urlsplit(text)
        name, port = parts.hostname or "", parts.port or DEFAULT_PORT
    elif text.startswith("["):
        name, _, rest = text[1:].partition("]")
        port = _port(rest.removeprefix(":")) if rest else DEFAULT_PORT
    elif text.count(":") > 1:
        name, port = text, DEFAULT_PORT
    else:
        name, _, after = text.partition(":")
        port = _port(after) if after else DEFAULT_PORT
    return Host(name=_name(name), port=port, labels=labels or {})


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ValueError(f"{text[:50]!r} is no port")
    return int(text)


def _name(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        pass
    name = text.rstrip(".").lower()
    if not name.isascii():
        name = name.encode("idna").decode()
    if not name or len(name) > 253 or not all(_LABEL.fullmatch(each) for each in name.split(".")):
        raise ValueError(f"{text[:100]!r} is no host")
    return name


def parse_list(where: str, data: bytes) -> Iterator[Host]:
    """One host a line; what follows a # is a remark. Raises ListError."""
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise ListError(f"{where}: not UTF-8 text") from error
    for number, line in enumerate(lines[:MOST], 1):
        text = line.partition("#")[0].strip()
        if text:
            try:
                yield parse_host(text)
            except ValueError as error:
                raise ListError(f"{where}:{number}: {error}") from error


def parse_file_sd(where: str, data: bytes) -> Iterator[Host]:
    """As Prometheus reads it: a list of {targets: […], labels: {…}}. Raises ListError."""
    try:
        tree = json.loads(data) if where.endswith(".json") else yaml_tree.load(data)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        first = " ".join(str(error).split())[:200]
        raise ListError(f"{where}: cannot be read: {first}") from error
    if tree is None:
        return
    if not isinstance(tree, list):
        raise ListError(f"{where}: not a list of target groups, as file_sd has them")
    for number, group in enumerate(tree[:MOST], 1):
        targets = group.get("targets") if isinstance(group, dict) else None
        if not isinstance(targets, list):
            raise ListError(f"{where}: group {number} has no list of targets")
        said = group.get("labels")
        labels = {
            str(name): str(value)
            for name, value in (said.items() if isinstance(said, dict) else ())
            if not str(name).startswith("__")
        }
        for target in targets[:MOST]:
            try:
                yield parse_host(str(target), labels)
            except ValueError as error:
                raise ListError(f"{where}: group {number}: {error}") from error
