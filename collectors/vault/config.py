"""The keys of `kind: vault`."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from certwatch.doors.url import parse_web_address
from certwatch.plugins.collector import CollectorConfig
from certwatch.plugins.duration import Duration


def _is_url(text: str) -> str:
    address = parse_web_address(text)
    if address.scheme == "http" and address.host not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError("http:// shows the token to everybody on the way: write https://")
    return text


Mount = Annotated[str, Field(pattern=r"^[^/\s?#][^\s?#]{0,499}$")]


_Pattern = Annotated[str, Field(min_length=1, max_length=500)]


class KVMount(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    #: A KV secrets engine, of version 1 or 2, by the path that it is mounted at.
    mount: Mount = "secret"
    #: Secrets that are read; "*" within a folder, "**" over folders. Without either no list is asked for.
    paths: tuple[_Pattern, ...] = Field(default=("**",), min_length=1, max_length=200)
    #: Keys of theirs whose values may be certificates; "*" for anything.
    keys: tuple[_Pattern, ...] = Field(default=("**",), min_length=1, max_length=200)


class VaultConfig(CollectorConfig):
    #: Of the server: https://host:8200.
    url: Annotated[str, AfterValidator(_is_url)]
    #: PKI secrets engines, by the paths that they are mounted at. None: all of the namespace.
    mounts: tuple[Mount, ...] | None = None
    exclude_mounts: tuple[Mount, ...] = ()
    #: KV mounts whose secrets are read as well.
    kv: tuple[KVMount, ...] = ()
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
        if self.mounts == () and not self.kv:
            raise ValueError("mounts: name at least 1, or give kv")
        if len({each.mount.strip("/") for each in self.kv}) < len(self.kv):
            raise ValueError("kv: a mount is there twice. Put all its paths into one entry")
        if (self.role_id is None) != (self.secret_id is None):
            raise ValueError("role_id and secret_id belong together")
        if (self.token is None) == (self.role_id is None):
            raise ValueError("give a token, or role_id and secret_id")
        if self.client_key is not None and self.client_certificate is None:
            raise ValueError("client_key belongs to client_certificate")
        return self
