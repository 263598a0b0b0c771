"""`certwatch backup FILE`."""

import os
from pathlib import Path

import click

from certwatch.cli.failure import OK
from certwatch.cli.options import config_option


@click.command(name="backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@config_option
def command(file: Path, config: Path | None) -> int:
    """Copy the inventory to FILE, also while the daemon writes it. The copy is checked."""
    from certwatch.config.inventory_url import inventory_url
    from certwatch.inventory.backup import backup
    from certwatch.inventory.open import inventory_path

    copied = backup(inventory_path(inventory_url(config, env=os.environ)), file)
    click.echo(
        f"{file}: {copied.certificates} certificates at {copied.locations} locations, {copied.bytes} bytes, checked"
    )
    return OK
