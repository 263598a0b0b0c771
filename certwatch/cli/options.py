"""Options that several verbs have, and the inventory that they read."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from certwatch.model.clock import system_clock

if TYPE_CHECKING:
    from certwatch.inventory.store import Reader

F = TypeVar("F", bound=Callable[..., Any])

clock = system_clock


def _take(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Before the verb or after it, the same."""
    parent = ctx.parent
    while value is None and parent is not None:
        value = parent.obj if isinstance(parent.obj, Path) else None
        parent = parent.parent
    return value


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
    from certwatch.config.inventory_url import inventory_url
    from certwatch.inventory.open import open_inventory

    reader = open_inventory(inventory_url(config, env=os.environ), create=False).reader()
    try:
        yield reader
    finally:
        reader.close()
