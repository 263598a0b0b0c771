"""`certwatch config`."""

import os
from pathlib import Path

import click

from certwatch.cli.options import config_option, use_config
from certwatch.cli.shapes import write_json
from certwatch.cli.text import shown


@click.group(name="config")
@config_option
@click.pass_context
def command(ctx: click.Context, config: Path | None) -> None:
    """Check the config, or print its schema."""
    use_config(ctx, config)


@command.command(name="check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@config_option
def check(file: Path | None, config: Path | None) -> None:
    """Check the config: everything that is wrong, each with file, line and key.

    FILE is the same as -c FILE. Exit status 2: something is wrong.
    """
    from certwatch.config.load import load
    from certwatch.doors.trust_files import load_trust
    from certwatch.web.port import web_config_of

    checked = load(file if file is not None else config, env=os.environ)
    for remark in checked.remarks:
        click.echo(shown(remark), err=True)
    stores = load_trust(checked.trust)
    web_config_of(checked)
    counts = [
        (len(checked.collectors), "collector"),
        (len(checked.exporters), "exporter"),
        (len(checked.owners), "owner rule"),
        (len(checked.rules.custom), "rule of your own"),
        (len(stores), "trust store"),
    ]
    said = ", ".join(f"{count} {_plural(word, count)}" for count, word in counts if count)
    click.echo(shown(f"{checked.name}: fine ({said or 'it is empty'})"))


def _plural(word: str, count: int) -> str:
    if count == 1:
        return word
    return word.replace("rule of", "rules of") if word.startswith("rule of") else f"{word}s"


@command.command(name="schema")
def schema() -> None:
    """Print the JSON Schema of the config, with every installed plug-in, for editors."""
    from certwatch.config.json_schema import json_schema

    made, failures = json_schema()
    for failure in failures:
        click.echo(f"certwatch: left out: {shown(failure)}", err=True)
    write_json(made)
