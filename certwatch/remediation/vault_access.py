"""How remediation logs in to a Vault or OpenBao: the same keys for its issuer and for its deployer."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from certwatch.doors.rest import RequestFailed, client_tls
from certwatch.doors.vault import AppRole, Vault

SECONDS = 30.0


class VaultAccess(BaseModel):
    url: Annotated[str, Field(pattern=r"^https?://")]
    #: File with a token.
    token_file: str | None = None
    #: Or an AppRole, with a file of its secret.
    role_id: str | None = None
    secret_id_file: str | None = None
    namespace: str | None = Field(default=None, min_length=1)
    #: Certificates by which the server is trusted, PEM. None: the system's.
    ca_file: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.role_id is None) != (self.secret_id_file is None):
            raise ValueError("role_id and secret_id_file go together")
        if (self.token_file is None) == (self.role_id is None):
            raise ValueError("give either token_file or role_id and secret_id_file")
        return self

    def open(self) -> Vault:
        """Raises RequestFailed."""
        credentials: str | AppRole
        if self.role_id is not None and self.secret_id_file is not None:
            credentials = AppRole(role_id=self.role_id, secret_id=_line(self.secret_id_file))
        else:
            credentials = _line(self.token_file or "")
        return Vault(
            self.url,
            credentials=credentials,
            namespace=self.namespace,
            tls=client_tls(trust=self.ca_file) if self.ca_file is not None else None,
            timeout=SECONDS,
        )


def _line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestFailed("other", f"{path}: cannot be read: {error}") from error
