"""The keys of `kind: gcp`."""

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from certwatch.plugins.collector import CollectorConfig

ServiceName = Literal["certificate-manager", "compute", "private-ca"]
SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)


class GCPConfig(CollectorConfig):
    #: Ids; "*": every active one that the credentials may see.
    projects: tuple[Annotated[str, Field(pattern=r"^(\*|[a-z0-9.:-]{1,100})$")], ...] = Field(min_length=1)
    exclude_projects: tuple[str, ...] = ()
    services: tuple[ServiceName, ...] = SERVICES
    #: "-": all.
    locations: tuple[Annotated[str, Field(pattern=r"^(-|[a-z0-9-]{1,50})$")], ...] = ("-",)
    #: Key of a service account. None: application default credentials (metadata server, workload identity federation).
    credentials_file: str | None = None
    #: File with an access token that something else keeps fresh, in place of credentials.
    token_file: str | None = None
    #: Labels that say who answers, in this order.
    owner_labels: tuple[str, ...] = ("owner", "team")
    #: Labels of resources that become labels of locations; "*": all of them.
    resource_labels: tuple[str, ...] = ("environment",)
    #: What each private CA pool issued, too.
    issued: bool = True
    #: Requests a second for each service.
    rate: float = Field(default=20, gt=0, le=10_000)
    #: Projects that are looked at at once.
    concurrency: int = Field(default=8, ge=1, le=64)
    #: Attempts at a request that is throttled or fails.
    attempts: int = Field(default=6, ge=1, le=20)
    #: Seconds for one answer.
    timeout: float = Field(default=30, gt=0, le=600)
    #: One address for all services in place of Google's: an emulator, a proxy.
    endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = None

    @model_validator(mode="after")
    def _fits(self) -> "GCPConfig":
        if self.credentials_file is not None and self.token_file is not None:
            raise ValueError("say either credentials_file or token_file")
        return self
