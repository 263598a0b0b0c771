"""The embedded CA."""

import asyncio
from typing import ClassVar

from pydantic import Field

from certwatch.ca.failure import CAError
from certwatch.model.certificate import Certificate
from certwatch.plugins.duration import Duration
from certwatch.plugins.issuer import (
    CertificateRequest,
    IssueErrorKind,
    IssueFailed,
    IssuerConfig,
    IssuerContext,
)


class EmbeddedConfig(IssuerConfig):
    #: Profile of the CA; one without approvals.
    profile: str = Field(default="server", min_length=1)
    #: For whom: profiles give names by it.
    requester: str = Field(default="remediation", min_length=1)
    #: None: the profile's.
    lifetime: Duration | None = None
    #: Name of the issuer. None: the newest in use.
    issuer: str | None = None


class EmbeddedIssuer:
    Config: ClassVar[type[IssuerConfig]] = EmbeddedConfig

    def __init__(self, config: EmbeddedConfig, context: IssuerContext) -> None:
        self._config = config
        self._ask = context.ask_ca

    async def issue(self, request: CertificateRequest) -> bytes:
        lifetime = self._config.lifetime
        answer = await self._asked(
            "sign",
            {
                "csr": request.csr_pem.decode(),
                "profile": self._config.profile,
                "requester": self._config.requester,
                "submitter": self._config.requester,
                "lifetime_seconds": None if lifetime is None else int(lifetime.total_seconds()),
                "issuer": self._config.issuer,
            },
        )
        if answer["state"] == "waiting":
            raise IssueFailed(
                "refused",
                f"the CA's profile {self._config.profile} wants people to approve (request {answer['request']}): give"
                " remediation a profile without approvals, and let its own policy ask for them",
            )
        return str(answer["chain"]).encode()

    async def revoke(self, certificate: Certificate, reason: str) -> None:
        try:
            await self._asked(
                "revoke",
                {"serial": certificate.serial_hex, "reason": reason, "person": self._config.requester},
            )
        except IssueFailed as error:
            if "revoked already" not in error.message:
                raise

    async def _asked(self, act: str, values: dict[str, object]) -> dict[str, object]:
        if self._ask is None:
            raise IssueFailed("unavailable", "there is no embedded CA: set ca: in the config")
        try:
            return await asyncio.to_thread(self._ask, act, values)
        except CAError as error:
            kind: IssueErrorKind = "refused" if error.kind in ("refused", "lint", "usage") else "unavailable"
            raise IssueFailed(kind, error.message, again=kind == "unavailable") from error
