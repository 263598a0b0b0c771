"""Secrets Manager: those secrets that the config chooses. A value is read when its version is a new one."""

from collections.abc import Iterator, Mapping
from typing import Any

from certwatch.doors.aws import AWSError, Client
from certwatch.model.observation import Observation
from collectors import stored_value
from collectors.aws.config import Chosen
from collectors.aws.region import Region
from collectors.aws.service import Service
from collectors.file.contents import Contents

_CURRENT = "AWSCURRENT"


def look(region: Region) -> Iterator[Observation]:
    client = region.client("secretsmanager")
    seen: set[str] = set()
    for asked in _filters(region.config.secrets):
        for page in client.pages("ListSecrets", Filters=asked, PaginationConfig={"PageSize": 100}):
            for each in page.get("SecretList", ()):
                arn = str(each["ARN"])
                if arn not in seen and _is_chosen(each, region.config.secrets):
                    seen.add(arn)
                    yield from _secret(region, client, each)


def _filters(chosen: Chosen) -> Iterator[list[dict[str, Any]]]:
    """What the service selects; it takes ten values in one filter."""
    for start in range(0, len(chosen.names), 10):
        yield [{"Key": "name", "Values": list(chosen.names[start : start + 10])}]
    for key in chosen.tags:
        yield [{"Key": "tag-key", "Values": [key]}]


def _is_chosen(each: Mapping[str, Any], chosen: Chosen) -> bool:
    """The service compares tags by the beginning, and key and value each for itself."""
    if str(each.get("Name", "")).startswith(chosen.names or ("\0",)):
        return True
    tags = _tags(each)
    return any(key in tags and (not wanted or tags[key] in wanted) for key, wanted in chosen.tags.items())


def _secret(region: Region, client: Client, each: Mapping[str, Any]) -> Iterator[Observation]:
    arn, name = str(each["ARN"]), str(each["Name"])
    versions = each.get("SecretVersionsToStages") or {}
    version = next((id for id, stages in versions.items() if _CURRENT in stages), "")
    if each.get("DeletedDate") or (versions and not version):
        return
    kept = region.memory.get(("secret", arn))
    error = None
    if kept is not None and version and kept[0] == version:
        found: list[tuple[str, Contents]] = kept[1]
    else:
        try:
            got = client.call("GetSecretValue", SecretId=arn, VersionStage=_CURRENT)
        except AWSError as refused:
            if refused.is_absent:
                return
            found, error = [], refused.error
        else:
            value = (
                got.get("SecretString") if got.get("SecretString") is not None else got.get("SecretBinary")
            )
            found = stored_value.contents(f"{region.account.where}: secret {name}", value or "")
            region.memory["secret", arn] = (str(got.get("VersionId", "")), found)
    if error is not None:
        yield region.look("secrets", name, arn=arn, error=error, tags=_tags(each))
    for part, content in found:
        yield region.look(
            "secrets",
            name,
            part=part,
            arn=arn,
            chain=content.chain,
            facts=content.facts,
            error=content.error,
            tags=_tags(each),
        )


def _tags(each: Mapping[str, Any]) -> dict[str, str]:
    return {str(tag["Key"]): str(tag.get("Value", "")) for tag in each.get("Tags", ())}


SERVICE = Service(
    name="secrets",
    look=look,
    operations={"secretsmanager": ("ListSecrets", "GetSecretValue")},
)
