"""The way to AWS: what one asks (client), and what it says when it does not answer (failure)."""

from certwatch.doors.aws.client import Account, Client, Door, Limits, Role, Stopped
from certwatch.doors.aws.failure import AWSError

__all__ = ["AWSError", "Account", "Client", "Door", "Limits", "Role", "Stopped"]
