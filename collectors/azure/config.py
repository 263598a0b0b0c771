"""The keys of `kind: azure`."""

from typing import Annotated, Literal, get_args

from pydantic import Field, SecretStr, model_validator

from certwatch.plugins.collector import CollectorConfig

ServiceName = Literal["keyvault", "app-service", "application-gateway", "front-door"]
SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)
Cloud = Literal["public", "china", "government"]
_ID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


class AzureConfig(CollectorConfig):
    #: Ids. None: every enabled one that the credentials may see.
    subscriptions: tuple[Annotated[str, Field(pattern=_ID)], ...] | None = None
    exclude_subscriptions: tuple[Annotated[str, Field(pattern=_ID)], ...] = ()
    services: tuple[ServiceName, ...] = SERVICES
    #: Of Key Vault, besides certificates: secrets that say of themselves that they hold one.
    secrets: bool = False
    #: Of Key Vault, besides the current version: each other one that is enabled.
    versions: bool = True
    cloud: Cloud = "public"
    #: An app registration, with `client_id` and `client_secret`. None: workload or managed identity, environment, Azure CLI.
    tenant_id: Annotated[str, Field(pattern=_ID)] | None = None
    #: Of an app registration; alone: of a user-assigned managed identity.
    client_id: Annotated[str, Field(pattern=_ID)] | None = None
    client_secret: SecretStr | None = None
    #: File with an access token that something else keeps fresh, in place of credentials.
    token_file: str | None = None
    #: Tags that say who answers, in this order, upper and lower case alike.
    owner_tags: tuple[str, ...] = ("owner", "team")
    #: Tags that become labels; "*": all of them.
    tag_labels: tuple[str, ...] = ("environment",)
    #: Requests a second to each service.
    rate: float = Field(default=20, gt=0, le=10_000)
    #: Subscriptions and vaults that are looked at at once.
    concurrency: int = Field(default=8, ge=1, le=64)
    #: Attempts at a request that is throttled or fails.
    attempts: int = Field(default=6, ge=1, le=20)
    #: Seconds for one answer.
    timeout: float = Field(default=30, gt=0, le=600)
    #: Address of Azure Resource Manager in place of the cloud's: an emulator, a proxy. Vaults may be anywhere then.
    endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = None

    @model_validator(mode="after")
    def _fits(self) -> "AzureConfig":
        if (self.client_secret is None) != (self.tenant_id is None):
            raise ValueError("an app registration needs tenant_id, client_id and client_secret")
        if self.client_secret is not None and self.client_id is None:
            raise ValueError("an app registration needs client_id as well")
        if self.token_file is not None and (self.client_id or self.client_secret):
            raise ValueError("say either token_file or client_id")
        return self
