"""`certwatch ca`."""

from certwatch.cli.ca.group import command

__all__ = ["command"]
