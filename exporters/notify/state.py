"""What one receiver was told already: kept on disk, so that a restart repeats nothing and forgets nothing."""

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from certwatch.telemetry.logs import get_logger
from exporters.notify.message import Item

log = get_logger(__name__)


class State(msgspec.Struct, frozen=True, kw_only=True):
    #: When the last digest was sent, or when this receiver was first known. None: just now.
    digest_at: datetime | None = None
    #: Findings that were open in it, by id.
    digest: Mapping[int, Item] = {}
    #: When it was last told what is told at once. None: never.
    pages_at: datetime | None = None
    #: Findings that were open then, by id.
    pages: Mapping[int, Item] = {}


def load(path: Path | None) -> State:
    """Blocking. Nothing there, or nothing readable: as if nothing had been told; rather twice than never."""
    if path is None:
        return State()
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return State()
    except (OSError, msgspec.DecodeError) as error:
        log.warning("notify_state_unreadable", path=str(path), error=str(error))
        return State()


def save(path: Path | None, state: State) -> None:
    """Blocking. Raises OSError. By renaming: a crash leaves the old one or the new one."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(msgspec.json.encode(state))
        file.flush()
        os.fdatasync(file.fileno())
    new.replace(path)
