"""What ACME answers instead of what was asked (RFC 8555, 6.7; RFC 7807)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from certwatch.ca.failure import CAError

#: RFC 8555, 6.7; alreadyReplaced: RFC 9773, 7.4; invalidProfile: the profiles extension.
ProblemType = Literal[
    "accountDoesNotExist",
    "alreadyReplaced",
    "alreadyRevoked",
    "badCSR",
    "badNonce",
    "badPublicKey",
    "badRevocationReason",
    "badSignatureAlgorithm",
    "caa",
    "connection",
    "dns",
    "externalAccountRequired",
    "incorrectResponse",
    "invalidContact",
    "invalidProfile",
    "malformed",
    "orderNotReady",
    "rateLimited",
    "rejectedIdentifier",
    "serverInternal",
    "tls",
    "unauthorized",
    "unsupportedContact",
    "unsupportedIdentifier",
]

_STATUS: Mapping[ProblemType, int] = {
    "accountDoesNotExist": 400,
    "alreadyReplaced": 409,
    "externalAccountRequired": 403,
    "orderNotReady": 403,
    "rateLimited": 429,
    "rejectedIdentifier": 403,
    "serverInternal": 500,
    "unauthorized": 403,
}


@dataclass(frozen=True, slots=True)
class Part:
    """What is wrong with one of several names."""

    type: ProblemType
    detail: str
    #: "dns" or "ip", and the name.
    identifier: tuple[str, str]


class Problem(Exception):
    """`detail` is for the person who runs the client: what, and what to do."""

    def __init__(
        self,
        type: ProblemType,
        detail: str,
        *,
        status: int | None = None,
        parts: Sequence[Part] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.type: ProblemType = type
        self.detail = detail
        self.status = status or _STATUS.get(type, 400)
        self.parts = tuple(parts)
        self.headers = dict(headers or {})
        self.members = dict(members or {})

    def document(self) -> dict[str, Any]:
        said: dict[str, Any] = {
            "type": urn(self.type),
            "detail": self.detail,
            "status": self.status,
            **self.members,
        }
        if self.parts:
            said["subproblems"] = [
                {
                    "type": urn(each.type),
                    "detail": each.detail,
                    "identifier": {"type": each.identifier[0], "value": each.identifier[1]},
                }
                for each in self.parts
            ]
        return said


def urn(type: ProblemType) -> str:
    return f"urn:ietf:params:acme:error:{type}"


def of_ca(error: CAError, refusal: ProblemType) -> Problem:
    """What the CA says, to a client. Whatever is no refusal is ours, and its reason is for our own people."""
    if error.kind in ("refused", "lint"):
        return Problem(refusal, error.message)
    return Problem(
        "serverInternal",
        "the CA cannot sign at the moment. Try again later; its operators have been told",
        headers={"Retry-After": "60"},
    )
