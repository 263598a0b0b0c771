"""The keys of `kind: vault`."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from certwatch.doors.url import parse_web_address
from certwatch.plugins.collector import CollectorConfig
from certwatch.plugins.duration import Duration


def _is_url(text: str) -> str:
    address = parse_web_address(text)
    if address.scheme == "http" and address.host not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError("http:// shows the token to everybody on the way: write https://")
    return text


Mount = Annotated[str, Field(pattern=r"^[^/\s?#][^\s?#]{0,499}$")]


class VaultConfig(CollectorConfig):
    #: Of the server: https://host:8200.
    url: Annotated[str, AfterValidator(_is_url)]
    #: PKI secrets engines, by the paths that they are mounted at. None: all of the namespace.
    mounts: tuple[Mount, ...] | None = Field(default=None, min_length=1)
    exclude_mounts: tuple[Mount, ...] = ()
    namespace: str | None = Field(default=None, min_length=1, max_length=500)
    #: What each mount issued, too, and not only its issuers.
    issued: bool = True
    token: SecretStr | None = None
    #: An AppRole instead of a token.
    role_id: str | None = None
    secret_id: SecretStr | None = None
    #: Where AppRole is mounted below auth/.
    auth_mount: str = Field(default="approle", min_length=1, max_length=200)
    #: File of the server's own CA. None: what this system trusts.
    trust: str | None = None
    #: Files of the certificate and key to log in with.
    client_certificate: str | None = None
    client_key: str | None = None
    #: How long after its end a certificate is still taken.
    expired: Duration = timedelta(days=30)
    #: The longest for one answer.
    timeout: Duration = timedelta(seconds=30)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.role_id is None) != (self.secret_id is None):
            raise ValueError("role_id and secret_id belong together")
        if (self.token is None) == (self.role_id is None):
            raise ValueError("give a token, or role_id and secret_id")
        if self.client_key is not None and self.client_certificate is None:
            raise ValueError("client_key belongs to client_certificate")
        return self
