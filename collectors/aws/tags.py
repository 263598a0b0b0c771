"""Tags of everything in a region at once: one request for a hundred resources, instead of one for each."""

from collections.abc import Mapping

from collectors.aws.region import Region

OPERATIONS = {"resourcegroupstaggingapi": ("GetResources",)}
#: As the tagging API calls what we look at.
TYPES = {
    "acm": ("acm",),
    "acm-pca": ("acm-pca",),
    "elb": ("elasticloadbalancing:loadbalancer",),
    "elbv2": ("elasticloadbalancing:loadbalancer",),
    "cloudfront": ("cloudfront",),
    "iot": ("iot:cacert", "iot:cert"),
    "rds": ("rds:db",),
    "transfer": ("transfer",),
    "parameters": ("ssm:parameter",),
}
#: Tags that are kept, of one region.
_MOST = 200_000


def read_tags(region: Region, services: tuple[str, ...]) -> dict[str, Mapping[str, str]]:
    """By ARN; only the tags that are wanted. Raises AWSError."""
    wanted = [each for service in services for each in TYPES.get(service, ())]
    if not wanted:
        return {}
    config = region.config
    every = "*" in config.tag_labels
    keys = {each.lower() for each in (*config.owner_tags, *config.tag_labels)}
    found: dict[str, Mapping[str, str]] = {}
    for page in region.client("resourcegroupstaggingapi").pages(
        "GetResources",
        ResourceTypeFilters=sorted(set(wanted)),
        PaginationConfig={"PageSize": 100},
    ):
        for each in page.get("ResourceTagMappingList", ()):
            tags = {
                str(tag["Key"]): str(tag["Value"])
                for tag in each.get("Tags", ())
                if every or str(tag["Key"]).lower() in keys
            }
            if tags and len(found) < _MOST:
                found[str(each["ResourceARN"])] = tags
    return found
