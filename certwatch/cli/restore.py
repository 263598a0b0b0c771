"""`certwatch restore FILE`."""

import os
from pathlib import Path

import click

from certwatch.cli.failure import FAILED, OK, Failed
from certwatch.cli.options import config_option


@click.command(name="restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--replace", is_flag=True, help="Though there is an inventory, which is then lost.")
@click.option(
    "--trial",
    is_flag=True,
    help="Elsewhere, read it, and throw it away: proves that this backup can be restored. The daemon may run.",
)
@config_option
def command(file: Path, replace: bool, trial: bool, config: Path | None) -> int:
    """Put a backup in the inventory's place. Stop the daemon first."""
    if trial:
        return _trial(file, config)
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


def _trial(file: Path, config: Path | None) -> int:
    """Restored as it would be after a loss, opened as the daemon opens it, read whole; and noted, for doctor --readiness."""
    import tempfile

    from certwatch.cli.ca.opening import person
    from certwatch.cli.instants import minute
    from certwatch.cli.options import current_clock
    from certwatch.cli.proofs import keep
    from certwatch.config.load import load
    from certwatch.inventory.backup import restore
    from certwatch.inventory.open import open_inventory
    from certwatch.inventory.store import Query

    now = current_clock()()
    loaded = load(config, env=os.environ)
    with tempfile.TemporaryDirectory(prefix="certwatch-trial-") as folder:
        target = Path(folder, "inventory.db")
        copied = restore(file, target)
        reader = open_inventory(f"sqlite://{target}", create=False).reader()
        try:
            read = sum(1 for _ in reader.list(Query(), now))
            live = sum(1 for _ in reader.live())
            ends = [each.finished_at for each in reader.last_scans() if each.finished_at is not None]
        finally:
            reader.close()
    if not ends:
        raise Failed(
            FAILED,
            f"{file}: it can be restored, and has no scan in it: that is no backup of an inventory in use",
        )
    about = {
        "file": str(file.absolute()),
        "bytes": copied.bytes,
        "certificates": read,
        "live": live,
        "until": max(ends).isoformat(),
    }
    keep(loaded, "restored", now, person(), about)
    click.echo(
        f"{file}: restored in a trial and read: {read} certificates, {live} live places, up to {minute(max(ends))}"
    )
    return OK
