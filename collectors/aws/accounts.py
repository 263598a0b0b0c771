"""Which accounts there are, and which regions of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from certwatch.doors.aws import Account, AWSError, Door, Role
from certwatch.model.observation import LookError
from collectors.aws.config import AWSConfig

OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "organizations": ("ListAccounts",),
    "account": ("ListRegions",),
}
_ENABLED = ("ENABLED", "ENABLED_BY_DEFAULT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An account that is to be looked at."""

    #: Empty: the credentials' own, not asked yet.
    id: str
    #: None: by the credentials themselves.
    role: Role | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def wanted(name: str, config: AWSConfig, door: Door) -> tuple[list[Wanted], LookError | None]:
    """Blocking. With it why the organisation's accounts could not be had. None: they could, or none are asked for."""
    found = [Wanted(id="")] if config.wants_own_account else []
    found += [
        Wanted(id=each.account, role=Role(arn=each.role, external_id=each.external_id), labels=each.labels)
        for each in config.roles
    ]
    if config.organization is None:
        return found, None
    try:
        found += _organisation(name, config, door, {each.id for each in found})
    except AWSError as error:
        return found, error.error
    return found, None


def _organisation(name: str, config: AWSConfig, door: Door, have: set[str]) -> Iterator[Wanted]:
    assert config.organization is not None  # noqa: S101
    own = door.account(name, profile=config.profile)
    client = own.client("organizations", config.home_region)
    told = False
    for page in client.pages("ListAccounts"):
        for each in page.get("Accounts", ()):
            told = True
            id = str(each["Id"])
            if each.get("Status", each.get("State")) != "ACTIVE":
                continue
            if id in have or id in config.organization.exclude:
                continue
            labels = {"account_name": str(each["Name"])[:200]} if each.get("Name") else {}
            if id == own.id:
                # The credentials are there already; the management account has no role for itself.
                if config.own_account is not False and not config.wants_own_account:
                    yield Wanted(id=id, labels=labels)
                continue
            role = f"arn:{own.partition}:iam::{id}:role/{config.organization.role}"
            yield Wanted(
                id=id, role=Role(arn=role, external_id=config.organization.external_id), labels=labels
            )
    if not told:
        # The account that asks is always one of them.
        raise AWSError("malformed", f"{own.where}: organizations: ListAccounts: names no account at all.")


def regions(config: AWSConfig, account: Account) -> list[str]:
    """Blocking. Raises AWSError."""
    if config.regions is not None:
        found = list(config.regions)
    else:
        client = account.client("account", config.home_region)
        found = [
            str(each["RegionName"])
            for page in client.pages("ListRegions", RegionOptStatusContains=list(_ENABLED))
            for each in page.get("Regions", ())
        ]
        if not found:
            # Nothing would be looked at, and all of it taken for gone.
            raise AWSError("malformed", f"{account.where}: account: ListRegions: names no region at all.")
    return [each for each in dict.fromkeys(found) if each not in config.exclude_regions]
