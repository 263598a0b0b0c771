"""What the CA says when it does not do what it was asked."""

from typing import Literal

#: Metric label, JSON value, and what tests ask for.
CAErrorKind = Literal[
    "refused",  # the request is against the profile, the issuer or the policy
    "waiting",  # people must approve first
    "token",  # the token or the key file cannot sign
    "pin",  # wrong or missing PIN or passphrase: never tried again by itself
    "locked",  # another process has this CA
    "full",  # no space left
    "clock",  # the clock stands before the last entry of the ledger
    "ledger",  # what is stored contradicts itself
    "lint",  # the certificate that would be made has a fault
    "busy",  # too much is asked at once: try again later
    "unauthenticated",  # who asks did not say who that is
    "too-often",  # this requester has asked too often: try again later
    "not-found",
    "usage",  # asked in a way that cannot be answered
    "other",
]


class CAError(Exception):
    """`message` is one sentence or two: where, what, what to do."""

    def __init__(self, kind: CAErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
