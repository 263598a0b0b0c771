"""`certwatch inventory migrate TO`."""

import os
from pathlib import Path

import click

from certwatch.cli.failure import FAILED, OK, Failed
from certwatch.cli.options import config_option


@click.group(name="inventory")
def command() -> None:
    """Move the inventory into another database."""


@command.command(name="migrate")
@click.argument("to")
@config_option
def migrate_command(to: str, config: Path | None) -> int:
    """Copy the whole inventory into another, empty one, and compare.

    TO is its address, or a config whose `inventory` it is (so that no password stands on the command line). Stop the daemon
    first, name the new inventory in the config afterwards. The old one stays as it is.
    """
    from certwatch.config.inventory_url import inventory_url
    from certwatch.inventory import open_inventory
    from certwatch.inventory.migrate import migrate

    here = inventory_url(config, env=os.environ)
    there = to if "://" in to else inventory_url(Path(to), env=os.environ)
    if here == there:
        raise Failed(FAILED, "both are the same inventory: there is nothing to move")
    moved = migrate(open_inventory(here, create=False), open_inventory(there))
    for each in moved:
        click.echo(f"{each.table:<12} {each.rows:>10} rows  sha256 {each.checksum}")
    return OK
