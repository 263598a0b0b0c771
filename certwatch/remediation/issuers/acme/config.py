"""The keys of an ACME issuer."""

from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from certwatch.plugins.duration import Duration
from certwatch.plugins.issuer import IssuerConfig


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HTTPKeys(_Keys):
    """Either of both."""

    #: Folder that a web server of yours serves at / of port 80, for every name.
    webroot: str | None = None
    #: Address and port to listen at while names are proven: "0.0.0.0:80".
    listen: Annotated[str, Field(pattern=r"^(.+:)?\d{1,5}$")] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.webroot is None) == (self.listen is None):
            raise ValueError("give either webroot or listen")
        return self


class DNSKeys(_Keys):
    """Either a server that takes updates (RFC 2136), or a command."""

    #: Address and port of the primary name server.
    server: str | None = None
    #: None: what the server says of the name.
    zone: str | None = None
    key_name: str | None = None
    #: The key's secret, base64.
    key_secret_file: str | None = None
    algorithm: str = "hmac-sha256"
    #: Command; with "add" or "remove", the record's name and its value behind.
    hook: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    hook_seconds: Annotated[float, Field(gt=0, le=3600)] = 120.0
    #: Until all name servers of the zone have it.
    wait: Duration = timedelta(seconds=10)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.server is None) == (not self.hook):
            raise ValueError("give either server or hook")
        if (self.key_name is None) != (self.key_secret_file is None):
            raise ValueError("key_name and key_secret_file go together")
        return self


class AcmeConfig(IssuerConfig):
    #: URL of the CA's directory.
    directory: Annotated[str, Field(pattern=r"^https?://")]
    #: That the CA's terms are agreed to.
    agree_to_terms: bool = False
    email: Annotated[list[str], BeforeValidator(_listed)] = Field(default_factory=list)
    #: External account binding, where the CA wants one: the key's name, and a file with the key (base64url).
    binding: str | None = None
    binding_key_file: str | None = None
    #: The CA's profile. None: its usual one.
    profile: str | None = None
    #: Certificates by which the CA's own server is trusted, PEM. None: the system's.
    trust_file: str | None = None
    http: HTTPKeys | None = None
    dns: DNSKeys | None = None
    #: Of one order.
    seconds: Annotated[float, Field(gt=0, le=3600)] = 300.0

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.http is None and self.dns is None:
            raise ValueError("give http or dns (or both): how names are proven")
        if (self.binding is None) != (self.binding_key_file is None):
            raise ValueError("binding and binding_key_file go together")
        if not self.agree_to_terms:
            raise ValueError("agree_to_terms: true is needed; see the terms in the CA's directory")
        return self
