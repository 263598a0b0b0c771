"""`certwatch ca backup` and `certwatch ca restore`."""

from pathlib import Path

import click

from certwatch.cli.ca.opening import Opening, ca_options, person
from certwatch.cli.ca.showing import say
from certwatch.cli.failure import OK
from certwatch.cli.options import current_clock

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("file", type=FILE)
@ca_options
def backup(opening: Opening, file: Path) -> int:
    """Copy the CA to FILE, verified, also while the daemon has it: everything but the keys that sign certificates."""
    from certwatch.ca.backup import backup

    settings, _ = opening.settings()
    copied = backup(settings.directory, file)
    say(f"{file}: {copied.entries} entries, {copied.certificates} certificates, verified")
    for issuer, key in copied.keys.items():
        say(f"not in it: the key of {issuer}, {key}")
    return OK


@click.command()
@click.argument("file", type=FILE)
@ca_options
def restore(opening: Opening, file: Path) -> int:
    """Put a copy back, into a folder where there is no CA."""
    from certwatch.ca.backup import restore

    settings, secrets = opening.settings()
    copied = restore(file, settings, secrets, current_clock(), by=person())
    say(f"{settings.directory}: {copied.entries} entries, {copied.certificates} certificates, verified")
    for issuer, key in copied.keys.items():
        say(f"needed from elsewhere: the key of {issuer}, {key}")
    return OK
