"""CloudFront distributions: which certificate they are set to show, and for which names."""

from collections.abc import Iterator, Mapping
from typing import Any

from certwatch.doors.aws import AWSError
from certwatch.model.observation import Fact, Observation
from collectors.aws.region import Region, targets
from collectors.aws.service import Service
from collectors.aws.services import iam


def look(region: Region) -> Iterator[Observation]:
    server_certificates: dict[str, str] | None = None
    for page in region.client("cloudfront").pages("ListDistributions", PaginationConfig={"PageSize": 100}):
        found = page.get("DistributionList") or {}
        if "Quantity" not in found:
            # botocore takes any XML for a list without members: the number is always there.
            raise AWSError(
                "malformed",
                f"{region.account.where}/{region.name}: cloudfront: ListDistributions: answers what is no listing",
            )
        for each in found.get("Items") or ():
            viewer = each.get("ViewerCertificate") or {}
            by_id = str(viewer.get("IAMCertificateId") or "")
            if by_id and server_certificates is None:
                server_certificates = _by_id(region)
            arn = str(viewer.get("ACMCertificateArn") or "") or (server_certificates or {}).get(by_id, "")
            yield from _distribution(region, each, viewer, arn)


def _by_id(region: Region) -> dict[str, str]:
    """ARNs of IAM's server certificates: distributions name them by id."""
    try:
        return {str(each["ServerCertificateId"]): str(each["Arn"]) for each in iam.listed(region)}
    except AWSError:
        # Said where IAM itself is looked at.
        return {}


def _distribution(
    region: Region, each: Mapping[str, Any], viewer: Mapping[str, Any], certificate: str
) -> Iterator[Observation]:
    arn, id, host = str(each["ARN"]), str(each["Id"]), str(each["DomainName"])
    aliases = sorted(str(it) for it in (each.get("Aliases") or {}).get("Items") or ())
    held = region.held(certificate)
    if certificate:
        region.used(certificate, arn)
    source = "acm" if ":acm:" in certificate else "iam" if viewer.get("IAMCertificateId") else "cloudfront"
    facts: dict[str, Fact | None] = {
        "aws_status": each.get("Status"),
        "aws_enabled": each.get("Enabled"),
        "aws_certificate": certificate or viewer.get("IAMCertificateId"),
        "aws_certificate_source": source,
        "aws_minimum_protocol": viewer.get("MinimumProtocolVersion"),
        "aws_trust_store": ((each.get("ViewerMtlsConfig") or {}).get("TrustStoreConfig") or {}).get(
            "TrustStoreId"
        ),
        "in_use": bool(each.get("Enabled")),
    }
    named = [it for it in aliases if "*" not in it]
    # A distribution that is off answers nobody.
    answers = bool(each.get("Enabled"))
    yield region.look(
        "cloudfront",
        id,
        arn=arn,
        chain=held.chain,
        error=held.error,
        facts={**facts, **(targets(host, 443, held.chain, named[:1]) if answers else {})},
    )
    for alias in named[1:] if answers else ():
        yield region.look(
            "cloudfront",
            id,
            arn=arn,
            part=alias,
            facts={**targets(host, 443, names=[alias]), "aws_certificate": certificate},
        )


SERVICE = Service(
    name="cloudfront",
    look=look,
    operations={
        "cloudfront": ("ListDistributions",),
        "iam": ("ListServerCertificates", "GetServerCertificate"),
        "acm": ("GetCertificate",),
    },
    is_global=True,
)
