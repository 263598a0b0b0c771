"""What `scan` is told to look at: files and folders, or TLS endpoints. Text only; each collector judges its own."""

import os
import re
from collections.abc import Sequence
from ipaddress import ip_address

_PROTOCOL = re.compile(r"/[A-Za-z][A-Za-z0-9-]*$")


def is_path(text: str) -> bool:
    """A path that exists, one that is written as a path, or a glob."""
    if "://" in text:
        return text.startswith("file://")
    if text.startswith(("/", "./", "../", "~")) or text in (".", ".."):
        return True
    if "*" in text or "?" in text or ("[" in text and not text.startswith("[")):
        return True
    return os.path.lexists(text)


def divide(targets: Sequence[str]) -> tuple[list[str], list[str]]:
    """(endpoints, paths), each in its order."""
    paths = [each for each in targets if is_path(each)]
    return [each for each in targets if not is_path(each)], [each.removeprefix("file://") for each in paths]


def with_protocol(target: str, protocol: str) -> str:
    """The target with a STARTTLS protocol; one that it names itself wins."""
    if "://" in target:
        if "protocol=" in target:
            return target
        if "?" in target:
            return f"{target}&protocol={protocol}"
        return f"{target.rstrip('/')}/?protocol={protocol}"
    if _PROTOCOL.search(target):
        return target
    address, slash, prefix = target.partition("/")
    try:
        bare = ip_address(address.partition("%")[0]).version == 6
    except ValueError:
        bare = False
    return f"[{address}]{slash}{prefix}/{protocol}" if bare else f"{target}/{protocol}"
