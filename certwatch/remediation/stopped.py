"""Why a roll-out does not go on."""

import traceback


class StepFailed(Exception):
    """`again`: the whole roll-out may be tried later, not before `retry_after` seconds, and nothing was changed."""

    def __init__(self, why: str, *, again: bool = False, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.again = again
        self.retry_after = retry_after


class TurnedAway(Exception):
    """A person has given it another direction meanwhile: the book says which."""


def frames_of(error: BaseException) -> str:
    """Of something that nobody expected, for the log."""
    return "".join(traceback.format_exception(error)[-5:])
