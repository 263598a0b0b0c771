"""`certwatch remediate`."""

from certwatch.cli.remediate.verbs import command

__all__ = ["command"]
