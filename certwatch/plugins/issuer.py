"""What an issuer promises: from a CSR to a certificate. Called by remediation alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from certwatch.model.certificate import Certificate
from certwatch.model.clock import Clock

#: refused: by its policy, and it will be again. limit: too many, later. unavailable: it cannot be reached, or cannot sign now.
IssueErrorKind = Literal["refused", "limit", "unavailable", "wrong", "other"]

#: Have the embedded CA do something: (act, values) → answer. Blocking. Raises `certwatch.ca.failure.CAError`.
AskCA = Callable[[str, Mapping[str, Any]], dict[str, Any]]


class IssuerConfig(BaseModel):
    """Base of every issuer's `Config`: its own keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class IssueFailed(Exception):
    """There is no certificate. `again`: trying later makes sense, not before `retry_after` seconds."""

    def __init__(
        self, kind: IssueErrorKind, message: str, *, again: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.again = again
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRequest:
    csr_pem: bytes
    #: As in certificates of the model: "dns:www.example.com", "ip:…".
    names: tuple[str, ...]
    #: What it takes the place of. None: nothing.
    replaces: Certificate | None
    #: The same for the same wish: an issuer that can, gives the same certificate for it.
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerContext:
    clock: Clock
    #: None: there is no embedded CA.
    ask_ca: AskCA | None = None
    #: A folder of the issuer's own, for accounts; it may not exist yet. None: there is none.
    state_folder: Path | None = None


class Issuer(Protocol):
    Config: ClassVar[type[IssuerConfig]]

    def __init__(self, config: IssuerConfig, context: IssuerContext) -> None:
        """Cheap, without I/O."""

    async def issue(self, request: CertificateRequest) -> bytes:
        """PEM, leaf first, with what is above it but the root. May be called again for the same key after a crash.
        Raises IssueFailed."""
        ...

    async def revoke(self, certificate: Certificate, reason: str) -> None:
        """`reason` in the words of `certwatch ca revoke`. One that is revoked already is no error. Raises IssueFailed."""
        ...
