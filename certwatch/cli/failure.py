"""What a run of the command line ends with, and which of our errors are whose."""

OK, ACTION, USAGE, FAILED = 0, 1, 2, 3
#: As shells say it: 128 and the signal's number.
INTERRUPTED, PIPE_CLOSED = 130, 141


class Failed(Exception):
    """It ends here: said on standard error, one line each."""

    def __init__(self, status: int, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.status = status
        self.messages = messages


def failure_of(error: Exception) -> Failed | None:
    """What an error of the core means for the caller. None: it is a fault of ours.

    Told by their modules, which are not imported for it: `certwatch list` does without most of them.
    """
    if isinstance(error, Failed):
        return error
    name = type(error).__name__
    if name == "ConfigError":
        return Failed(USAGE, *getattr(error, "messages", [str(error)]))
    if name in ("TrustError", "KeyListError"):
        return Failed(USAGE, str(error))
    if name == "CAError":
        return Failed(USAGE if getattr(error, "kind", "") == "usage" else FAILED, str(error))
    if name == "RemediationError":
        return Failed(USAGE if getattr(error, "kind", "") == "usage" else FAILED, str(error))
    if name in ("InventoryError", "PluginError", "PluginFailed", "CollectError"):
        return Failed(FAILED, str(error))
    if isinstance(error, OSError):
        return Failed(FAILED, f"{error.filename or 'output'}: {error.strerror or error}")
    return None
