"""`certwatch run`."""

from pathlib import Path

import click

from certwatch.cli.options import config_option


@click.command(name="run")
@config_option
def command(config: Path | None) -> int:
    """Watch: collect on schedule, judge, tell. Stops on SIGTERM and Ctrl-C, reloads the config on SIGHUP.

    Without any config it watches this host: its certificate files and its listening TLS ports.
    """
    from certwatch.daemon import run

    return run(config)
