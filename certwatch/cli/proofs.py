"""What was proven by trying it: restores in a trial, test pages and who received them. One line of JSON each, only ever appended."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from certwatch.cli.failure import FAILED, Failed

if TYPE_CHECKING:
    from certwatch.config.settings import Config

ProofKind = Literal["restored", "page-sent", "page-received", "drill"]
MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    kind: str
    at: datetime
    by: str
    #: By kind: docs/cli.md.
    about: Mapping[str, Any]


def path_of(config: "Config") -> Path:
    from certwatch.config import defaults

    return defaults.state_folder(config.inventory, os.environ, uid=os.getuid()) / "proofs.ndjson"


def keep(config: "Config", kind: ProofKind, at: datetime, by: str, about: Mapping[str, Any]) -> None:
    """On disk when it returns. Raises Failed."""
    path = path_of(config)
    line = json.dumps({"kind": kind, "at": at.isoformat(), "by": by, "about": about}) + "\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(number, "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            # A line that a crash left half is ended, and is left out by who reads.
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                line = "\n" + line
            file.write(line.encode())
            os.fsync(file.fileno())
    except OSError as error:
        raise Failed(FAILED, f"{path}: cannot be written: {error.strerror}") from error


def kept(config: "Config") -> list[Kept]:
    """Oldest first. What cannot be read proves nothing, and is left out. Raises Failed."""
    path = path_of(config)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Failed(FAILED, f"{path}: cannot be read: {error.strerror}") from error
    return list(_read(data))


def _read(data: bytes) -> Iterator[Kept]:
    for line in data.splitlines():
        try:
            said = json.loads(line)
            at = datetime.fromisoformat(said["at"])
            if at.tzinfo is None or not isinstance(said["about"], dict):
                continue
            yield Kept(kind=str(said["kind"]), at=at.astimezone(UTC), by=str(said["by"]), about=said["about"])
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
            continue


def digest(code: str) -> str:
    """Of a test page's code: who reads the file must not be able to say that the page arrived."""
    return hashlib.sha256(f"certwatch page {code}".encode()).hexdigest()
