"""`certwatch remediate`."""

from certwatch.cli.remediate.drill import drill
from certwatch.cli.remediate.verbs import command

command.add_command(drill)

__all__ = ["command"]
