"""The keys of `kind: aws`."""

from datetime import timedelta
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from certwatch.plugins.collector import CollectorConfig
from certwatch.plugins.duration import Duration

ServiceName = Literal[
    "acm",
    "acm-pca",
    "iam",
    "cloudfront",
    "elb",
    "elbv2",
    "api-gateway",
    "iot",
    "transfer",
    "rds",
    "secrets",
    "parameters",
    "kms-signatures",
]
SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)
#: Looked at unless others are named. The rest reads secrets, or needs something to be said first.
USUAL: tuple[ServiceName, ...] = SERVICES[: SERVICES.index("secrets")]

Region = Annotated[str, Field(pattern=r"^[a-z]{2,4}(-[a-z]+)+-\d{1,2}$")]


class Role(BaseModel):
    """A role in an account that certwatch takes on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")]
    #: What the role's trust policy asks for as `sts:ExternalId`.
    external_id: str | None = Field(default=None, min_length=2, max_length=1224)
    #: Given to every location of the account.
    labels: dict[str, str] = Field(default_factory=dict)

    @property
    def account(self) -> str:
        return self.role.split(":")[4]


class Organization(BaseModel):
    """Every active account of the organisation that the credentials belong to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Name of the role, the same in every account.
    role: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+=,.@/-]+$", max_length=512)]
    external_id: str | None = Field(default=None, min_length=2, max_length=1224)
    #: Ids of accounts that are left out.
    exclude: tuple[Annotated[str, Field(pattern=r"^\d{12}$")], ...] = ()


class Chosen(BaseModel):
    """Which secrets, or parameters, are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Beginnings of names.
    names: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    #: Tags that they have, each with any of its values; an empty list: any value.
    tags: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.names or self.tags)


class AWSConfig(CollectorConfig):
    #: A profile of ~/.aws/config. None: the usual chain (environment, container, instance).
    profile: str | None = None
    #: The account that the credentials themselves belong to. None: unless `roles` or `organization` are given.
    own_account: bool | None = None
    roles: tuple[Role, ...] = ()
    organization: Organization | None = None
    #: None: every one that is enabled in the account, those that must be opted in included.
    regions: tuple[Region, ...] | None = None
    exclude_regions: tuple[Region, ...] = ()
    services: tuple[ServiceName, ...] = USUAL
    #: Tags that say who answers, in this order, upper and lower case alike.
    owner_tags: tuple[str, ...] = ("certwatch:owner", "owner", "team")
    #: Tags that become labels; "*": all of them.
    tag_labels: tuple[str, ...] = ("environment",)
    #: For `secrets` and `parameters`.
    secrets: Chosen = Chosen()
    parameters: Chosen = Chosen()
    #: S3 bucket to which private CAs write the list of what they issued. None: only the CAs themselves are seen.
    audit_bucket: str | None = Field(default=None, pattern=r"^[a-z0-9.-]{3,63}$")
    #: How often a private CA is asked for that list; AWS allows one in half an hour.
    audit_every: Duration = timedelta(days=1)
    #: How often each certificate is described anew although the listing shows no change in it.
    reconcile: Duration = timedelta(days=1)
    #: Requests a second for each account, retries included.
    rate: float = Field(default=20, gt=0, le=10_000)
    #: Regions of accounts that are looked at at once.
    concurrency: int = Field(default=8, ge=1, le=64)
    #: Attempts at a request that is throttled or fails.
    attempts: int = Field(default=8, ge=1, le=20)
    #: Seconds for one answer.
    timeout: float = Field(default=30, gt=0, le=600)
    #: For all services: a VPC's or an emulator's.
    endpoint_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    #: Where global services and the list of regions are asked.
    home_region: Region = "us-east-1"

    @model_validator(mode="after")
    def _fits(self) -> "AWSConfig":
        for name, chosen in (("secrets", self.secrets), ("parameters", self.parameters)):
            if chosen and name not in self.services:
                raise ValueError(f"{name}: is of no effect unless services name it as well")
            if not chosen and name in self.services:
                raise ValueError(f"services: {name} needs {name}: names or tags of those that may be read")
        if self.own_account is False and not self.roles and self.organization is None:
            raise ValueError("own_account: false leaves no account to look at")
        if len({each.account for each in self.roles}) != len(self.roles):
            raise ValueError("roles: two are of one account")
        return self

    @property
    def wants_own_account(self) -> bool:
        return self.own_account if self.own_account is not None else not (self.roles or self.organization)
