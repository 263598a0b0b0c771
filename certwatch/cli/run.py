"""`certwatch run`."""

from pathlib import Path

import click

from certwatch.cli.options import config_option


@click.command(name="run")
@config_option
@click.option(
    "--insecure-listen",
    is_flag=True,
    help="Answer everything to everybody, on an address that others can reach and without a web config.",
)
def command(config: Path | None, insecure_listen: bool) -> int:
    """Watch: collect on schedule, judge, tell. Stops on SIGTERM and Ctrl-C, reloads the config on SIGHUP.

    Without any config it watches this host: its certificate files and its listening TLS ports.
    """
    from certwatch.daemon import run

    return run(config, insecure_listen=insecure_listen)
