"""Options that several verbs have, and the inventory that they read."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from certwatch.model.clock import Clock, system_clock

if TYPE_CHECKING:
    from certwatch.inventory.store import Reader, Store

F = TypeVar("F", bound=Callable[..., Any])

#: How many rows a verb is asked for. More than a store's integers hold is a slip of the finger, and is told as one.
LIMIT = click.IntRange(min=1, max=1_000_000_000)


@dataclass(frozen=True, slots=True)
class Session:
    """What one run of the program has from the outside: click's object."""

    #: Named before the verb. None: it was not.
    config: Path | None = None
    clock: Clock = system_clock


def current_clock() -> Clock:
    """Of this run. Only in the thread that click runs the verb in."""
    return _session(click.get_current_context()).clock


def _session(ctx: click.Context) -> Session:
    return ctx.find_object(Session) or Session()


def use_config(ctx: click.Context, config: Path | None) -> None:
    """For the verbs below this one."""
    ctx.obj = replace(_session(ctx), config=config)


def _take(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Before the verb or after it, the same."""
    return value if value is not None else _session(ctx).config


def config_option(function: F) -> F:
    return click.option(
        "-c",
        "--config",
        "config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        callback=_take,
        help="The config.",
    )(function)


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")(function)


@contextmanager
def reader_of(config: Path | None) -> "Iterator[Reader]":
    """A reader of the configured inventory. Needs neither plug-ins nor the rest of the config."""
    reader = store_of(config).reader()
    try:
        yield reader
    finally:
        reader.close()


def store_of(config: Path | None) -> "Store":
    """The configured inventory, as `reader_of` finds it."""
    from certwatch.config.inventory_url import inventory_url
    from certwatch.inventory.open import open_inventory

    return open_inventory(inventory_url(config, env=os.environ), create=False)
