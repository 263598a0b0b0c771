"""A PKI mount of Vault or OpenBao: it signs by one of its roles."""

import asyncio
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field, model_validator

from certwatch.doors.rest import RequestFailed, client_tls
from certwatch.doors.vault import AppRole, Vault
from certwatch.model.certificate import Certificate
from certwatch.plugins.duration import Duration
from certwatch.plugins.issuer import (
    CertificateRequest,
    IssueErrorKind,
    IssueFailed,
    IssuerConfig,
    IssuerContext,
)

SECONDS = 30.0


class VaultConfig(IssuerConfig):
    url: Annotated[str, Field(pattern=r"^https?://")]
    mount: str = Field(default="pki", min_length=1)
    #: Of the mount, by which it signs.
    role: Annotated[str, Field(min_length=1)]
    #: File with a token.
    token_file: str | None = None
    #: Or an AppRole, with a file of its secret.
    role_id: str | None = None
    secret_id_file: str | None = None
    namespace: str | None = Field(default=None, min_length=1)
    #: Certificates by which the server is trusted, PEM. None: the system's.
    ca_file: str | None = None
    #: None: the role's.
    lifetime: Duration | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.role_id is None) != (self.secret_id_file is None):
            raise ValueError("role_id and secret_id_file go together")
        if (self.token_file is None) == (self.role_id is None):
            raise ValueError("give either token_file or role_id and secret_id_file")
        return self


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
            with self._vault() as vault:
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
            with self._vault() as vault:
                # One that is revoked already stays so: Vault says when, and no error.
                vault.revoke(
                    self._config.mount, ":".join(digits[n : n + 2] for n in range(0, len(digits), 2))
                )
        except RequestFailed as error:
            raise self._failed(error) from error

    def _vault(self) -> Vault:
        config = self._config
        credentials: str | AppRole
        if config.role_id is not None and config.secret_id_file is not None:
            credentials = AppRole(role_id=config.role_id, secret_id=_line(config.secret_id_file))
        else:
            credentials = _line(config.token_file or "")
        return Vault(
            config.url,
            credentials=credentials,
            namespace=config.namespace,
            tls=client_tls(trust=config.ca_file) if config.ca_file is not None else None,
            timeout=SECONDS,
        )

    def _failed(self, error: RequestFailed) -> IssueFailed:
        kinds: dict[int, IssueErrorKind] = {400: "refused", 403: "refused", 404: "refused", 429: "limit"}
        kind = kinds.get(error.status, "unavailable")
        more = ""
        if error.status == 403:
            more = f". Grant update on {self._config.mount}/sign/{self._config.role} and {self._config.mount}/revoke"
        return IssueFailed(kind, f"{error.message}{more}", again=kind != "refused")


def _line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise IssueFailed("other", f"{path}: cannot be read: {error}", again=True) from error


def _chain(certificate: str, above: Any) -> bytes:
    """Leaf first, without the root. Raises ValueError."""
    found = [x509.load_pem_x509_certificate(each.encode()) for each in (certificate, *above)]
    kept = [each for n, each in enumerate(found) if n == 0 or each.subject != each.issuer]
    return b"".join(each.public_bytes(Encoding.PEM) for each in kept)
