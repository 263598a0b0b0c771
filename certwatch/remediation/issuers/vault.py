"""A PKI mount of Vault or OpenBao: it signs by one of its roles."""

import asyncio
from typing import Annotated, Any, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field

from certwatch.doors.rest import RequestFailed
from certwatch.model.certificate import Certificate
from certwatch.plugins.duration import Duration
from certwatch.plugins.issuer import (
    CertificateRequest,
    IssueErrorKind,
    IssueFailed,
    IssuerConfig,
    IssuerContext,
)
from certwatch.remediation.vault_access import VaultAccess


class VaultConfig(VaultAccess, IssuerConfig):
    mount: str = Field(default="pki", min_length=1)
    #: Of the mount, by which it signs.
    role: Annotated[str, Field(min_length=1)]
    #: None: the role's.
    lifetime: Duration | None = None


class VaultIssuer:
    Config: ClassVar[type[IssuerConfig]] = VaultConfig

    def __init__(self, config: VaultConfig, context: IssuerContext) -> None:
        self._config = config

    async def issue(self, request: CertificateRequest) -> bytes:
        return await asyncio.to_thread(self._issue, request)

    async def revoke(self, certificate: Certificate, reason: str) -> None:
        await asyncio.to_thread(self._revoke, certificate)

    def _issue(self, request: CertificateRequest) -> bytes:
        lifetime = self._config.lifetime
        try:
            with self._config.open() as vault:
                signed = vault.sign(
                    self._config.mount,
                    self._config.role,
                    request.csr_pem.decode(),
                    names=request.names,
                    seconds=None if lifetime is None else int(lifetime.total_seconds()),
                )
            return _chain(signed.certificate, signed.above)
        except RequestFailed as error:
            raise self._failed(error) from error
        except ValueError as error:
            raise IssueFailed("wrong", f"{self._config.url}: gave no certificate: {error}") from error

    def _revoke(self, certificate: Certificate) -> None:
        digits = certificate.serial_hex
        try:
            with self._config.open() as vault:
                # One that is revoked already stays so: Vault says when, and no error.
                vault.revoke(
                    self._config.mount, ":".join(digits[n : n + 2] for n in range(0, len(digits), 2))
                )
        except RequestFailed as error:
            raise self._failed(error) from error

    def _failed(self, error: RequestFailed) -> IssueFailed:
        kinds: dict[int, IssueErrorKind] = {400: "refused", 403: "refused", 404: "refused", 429: "limit"}
        kind = kinds.get(error.status, "unavailable")
        more = ""
        if error.status == 403:
            more = f". Grant update on {self._config.mount}/sign/{self._config.role} and {self._config.mount}/revoke"
        return IssueFailed(kind, f"{error.message}{more}", again=kind != "refused")


def _chain(certificate: str, above: Any) -> bytes:
    """Leaf first, without the root. Raises ValueError."""
    found = [x509.load_pem_x509_certificate(each.encode()) for each in (certificate, *above)]
    kept = [each for n, each in enumerate(found) if n == 0 or each.subject != each.issuer]
    return b"".join(each.public_bytes(Encoding.PEM) for each in kept)
