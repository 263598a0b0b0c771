"""The command line. Imports as late as possible: `certwatch --help` must be quick."""

import warnings


def main() -> None:
    """Entry point of the `certwatch` program."""
    from certwatch.cli.app import app

    # cryptography says it on standard error of every such certificate. They are there, and a rule's matter.
    warnings.filterwarnings("ignore", message="Parsed a serial number which wasn.t positive")
    app()
