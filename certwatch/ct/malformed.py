"""The one error of what reads bytes of logs."""


class Malformed(Exception):
    """These bytes are not what they should be. The message says what was found; it holds nothing that cannot be shown."""
