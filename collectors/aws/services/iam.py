"""Server certificates in IAM, which load balancers and CloudFront may use; of no region."""

from collections.abc import Iterator, Mapping
from typing import Any

from certwatch.doors.aws import AWSError
from certwatch.model.observation import Fact, Observation
from collectors.aws.place import location, users
from collectors.aws.region import Region
from collectors.aws.service import Service


def look(region: Region) -> Iterator[Observation]:
    for each in listed(region):
        seen = _certificate(region, each)
        if seen is not None:
            yield seen


def listed(region: Region) -> Iterator[Mapping[str, Any]]:
    for page in region.client("iam").pages("ListServerCertificates", PaginationConfig={"PageSize": 1000}):
        yield from page.get("ServerCertificateMetadataList", ())


def _certificate(region: Region, each: Mapping[str, Any]) -> Observation | None:
    """None: it was deleted since it was listed."""
    arn, name = str(each["Arn"]), str(each["ServerCertificateName"])
    uri = location(region.account.id, region.name, "iam", name)
    mark = f"{each.get('ServerCertificateId', '')} {each.get('UploadDate', '')}"
    known = region.known.served(uri)
    facts: dict[str, Fact | None] = {
        "aws_type": "IAM_SERVER_CERTIFICATE",
        "aws_mark": mark,
        **_use(region, arn),
    }
    if (
        known is not None
        and known.chain
        and known.facts.get("aws_mark") == mark
        and not region.known.is_due(uri)
    ):
        return region.look(
            "iam",
            name,
            arn=arn,
            chain=tuple(it.der for it in known.chain),
            facts=facts,
            labels=known.location.labels,
        )
    try:
        found = region.client("iam").call("GetServerCertificate", ServerCertificateName=name)[
            "ServerCertificate"
        ]
    except AWSError as error:
        if error.is_absent:
            return None
        raise
    chain = region.chain(found.get("CertificateBody"), found.get("CertificateChain"))
    tags = {str(tag["Key"]): str(tag["Value"]) for tag in found.get("Tags", ())}
    return region.look("iam", name, arn=arn, chain=chain, facts=facts, tags=tags, has_certificate=True)


def _use(region: Region, arn: str) -> dict[str, Fact | None]:
    """IAM does not say it: it is what load balancers and distributions said."""
    used_by = region.uses.by_certificate.get(arn, set())
    # Seen at none of those that could be looked at says nothing if some could not, or were not to be.
    every = {"elb", "elbv2", "cloudfront"} <= set(region.config.services) and region.config.regions is None
    known = bool(used_by) or (every and not region.uses.incomplete)
    return {"in_use": bool(used_by) if known else None, "in_use_by": users(used_by) if used_by else None}


SERVICE = Service(
    name="iam",
    look=look,
    operations={"iam": ("ListServerCertificates", "GetServerCertificate")},
    is_global=True,
)
