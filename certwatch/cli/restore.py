"""`certwatch restore FILE`."""

import os
from pathlib import Path

import click

from certwatch.cli.failure import FAILED, OK, Failed
from certwatch.cli.options import config_option


@click.command(name="restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--replace", is_flag=True, help="Though there is an inventory, which is then lost.")
@config_option
def command(file: Path, replace: bool, config: Path | None) -> int:
    """Put a backup in the inventory's place. Stop the daemon first."""
    from certwatch.config.inventory_url import inventory_url
    from certwatch.inventory.backup import restore
    from certwatch.inventory.open import inventory_path

    target = inventory_path(inventory_url(config, env=os.environ))
    if target.exists() and not replace:
        raise Failed(
            FAILED, f"{target}: there is an inventory. Its content would be lost: say --replace if it may"
        )
    copied = restore(file, target)
    click.echo(f"{target}: {copied.certificates} certificates at {copied.locations} locations")
    return OK
