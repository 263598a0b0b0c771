"""The command line. Imports as late as possible: `certwatch --help` must be quick."""


def main() -> None:
    """Entry point of the `certwatch` program."""
    from certwatch.cli.app import app

    app()
