"""RDS, Aurora, DocumentDB and Neptune: which of Amazon's CAs each instance is under, and until when. They are listed by one
API; the certificates themselves it does not give."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from certwatch.model.observation import Fact, Observation
from collectors.aws.region import Region, targets
from collectors.aws.service import Service

_STARTTLS = {
    "postgres": "postgres",
    "aurora-postgresql": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "aurora-mysql": "mysql",
    "aurora": "mysql",
}
#: These speak TLS from the first byte.
_TLS = ("docdb", "neptune")


def look(region: Region) -> Iterator[Observation]:
    client = region.client("rds")
    authorities = {
        str(each["CertificateIdentifier"]): each
        for page in client.pages("DescribeCertificates", PaginationConfig={"PageSize": 100})
        for each in page.get("Certificates", ())
    }
    for page in client.pages("DescribeDBInstances", PaginationConfig={"PageSize": 100}):
        for each in page.get("DBInstances", ()):
            yield _instance(region, each, authorities)


def _instance(
    region: Region, each: Mapping[str, Any], authorities: Mapping[str, Mapping[str, Any]]
) -> Observation:
    own = each.get("CertificateDetails") or {}
    authority = str(each.get("CACertificateIdentifier") or own.get("CAIdentifier") or "")
    engine, name = str(each.get("Engine", "")), str(each["DBInstanceIdentifier"])
    endpoint = each.get("Endpoint") or {}
    facts: dict[str, Fact | None] = {
        "aws_engine": engine,
        "aws_status": each.get("DBInstanceStatus"),
        "aws_certificate_authority": authority or None,
        "aws_certificate_authority_not_after": _instant(authorities.get(authority, {}).get("ValidTill")),
        "aws_certificate_not_after": _instant(own.get("ValidTill")),
    }
    protocol = "mssql" if engine.startswith("sqlserver") else _STARTTLS.get(engine, "")
    if endpoint.get("Address") and (protocol or engine in _TLS):
        facts |= targets(str(endpoint["Address"]), int(endpoint["Port"]), protocol=protocol)
    tags = {str(tag["Key"]): str(tag["Value"]) for tag in each.get("TagList", ())}
    return region.look("rds", name, arn=str(each.get("DBInstanceArn", "")), facts=facts, tags=tags)


def _instant(value: object) -> str | None:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else None


SERVICE = Service(
    name="rds",
    look=look,
    operations={"rds": ("DescribeCertificates", "DescribeDBInstances")},
)
