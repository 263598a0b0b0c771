"""A step that came to nothing."""


class StepFailed(Exception):
    """`again`: the whole roll-out may be tried later, not before `retry_after` seconds, and nothing was changed."""

    def __init__(self, why: str, *, again: bool = False, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.again = again
        self.retry_after = retry_after
