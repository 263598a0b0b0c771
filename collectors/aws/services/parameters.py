"""Parameter Store: those parameters that the config chooses. A value is read when its version is a new one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from certwatch.model.observation import Observation
from collectors import stored_value
from collectors.aws.config import Chosen
from collectors.aws.region import Region
from collectors.aws.service import Service

#: GetParameters takes no more.
_AT_ONCE = 10


def look(region: Region) -> Iterator[Observation]:
    client = region.client("ssm")
    found: dict[str, Mapping[str, Any]] = {}
    for asked in _filters(region.config.parameters):
        for page in client.pages(
            "DescribeParameters", ParameterFilters=asked, PaginationConfig={"PageSize": 50}
        ):
            found |= {str(each["Name"]): each for each in page.get("Parameters", ())}
    changed = [name for name, each in found.items() if _kept(region, name, each) is None]
    for start in range(0, len(changed), _AT_ONCE):
        got = client.call("GetParameters", Names=changed[start : start + _AT_ONCE], WithDecryption=True)
        for each in got.get("Parameters", ()):
            name = str(each["Name"])
            where = f"{region.account.where}: parameter {name}"
            region.memory["parameter", name] = (
                each.get("Version"),
                stored_value.contents(where, str(each.get("Value", ""))),
            )
    for name, each in found.items():
        kept = _kept(region, name, each)
        for part, content in kept or ():
            yield region.look(
                "parameters",
                name.lstrip("/"),
                part=part,
                arn=_arn(region, name),
                chain=content.chain,
                facts=content.facts,
                error=content.error,
            )


def _kept(region: Region, name: str, each: Mapping[str, Any]) -> Sequence[Any] | None:
    """None: there is a newer version than what was read."""
    version, contents = region.memory.get(("parameter", name), (None, None))
    return contents if contents is not None and version == each.get("Version") else None


def _filters(chosen: Chosen) -> Iterator[list[dict[str, Any]]]:
    if chosen.names:
        yield [{"Key": "Name", "Option": "BeginsWith", "Values": list(chosen.names)}]
    for key, wanted in chosen.tags.items():
        asked: dict[str, Any] = {"Key": f"tag:{key}"}
        if wanted:
            asked |= {"Option": "Equals", "Values": list(wanted)}
        yield [asked]


def _arn(region: Region, name: str) -> str:
    slash = "" if name.startswith("/") else "/"
    return f"arn:{region.account.partition}:ssm:{region.name}:{region.account.id}:parameter{slash}{name}"


SERVICE = Service(
    name="parameters",
    look=look,
    operations={"ssm": ("DescribeParameters", "GetParameters")},
)
