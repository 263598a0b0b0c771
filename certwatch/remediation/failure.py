"""What remediation says when it does not do what it was asked."""

from typing import Literal

RemediationErrorKind = Literal["refused", "not-found", "usage", "book", "other"]


class RemediationError(Exception):
    """`message`: where, what, what to do."""

    def __init__(self, kind: RemediationErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
