"""AWS Private CA: the CAs themselves, and what they issued."""

from collections.abc import Iterator, Mapping
from typing import Any

from certwatch.doors.aws import AWSError, Client
from certwatch.model.observation import Observation
from collectors.aws.place import location, name_of
from collectors.aws.region import Region
from collectors.aws.service import Said, Service
from collectors.aws.services import acm_pca_issued

_WITH_CERTIFICATE = frozenset({"ACTIVE", "DISABLED", "EXPIRED"})


def look(region: Region) -> Iterator[Said]:
    client = region.client("acm-pca")
    for page in client.pages("ListCertificateAuthorities", PaginationConfig={"PageSize": 100}):
        for each in page.get("CertificateAuthorities", ()):
            if each.get("Status") == "DELETED":
                continue
            yield _authority(region, client, each)
            if each.get("Status") in _WITH_CERTIFICATE and region.config.audit_bucket is not None:
                yield from acm_pca_issued.look(region, client, str(each["Arn"]))


def _authority(region: Region, client: Client, each: Mapping[str, Any]) -> Observation:
    arn = str(each["Arn"])
    name = name_of(arn)
    known = region.known.served(location(region.account.id, region.name, "acm-pca", name))
    mark = f"{each.get('Serial', '')} {each.get('Status', '')}"
    chain: tuple[bytes, ...] = ()
    if known is not None and known.chain and known.facts.get("aws_mark") == mark:
        chain = tuple(it.der for it in known.chain)
    elif each.get("Status") in _WITH_CERTIFICATE:
        try:
            got = client.call("GetCertificateAuthorityCertificate", CertificateAuthorityArn=arn)
            chain = region.chain(got.get("Certificate"), got.get("CertificateChain"))
        except AWSError as error:
            if not error.is_absent:
                raise
    revocation = each.get("RevocationConfiguration") or {}
    return region.look(
        "acm-pca",
        name,
        arn=arn,
        chain=chain,
        facts={
            "aws_status": each.get("Status"),
            "aws_type": each.get("Type"),
            "aws_usage_mode": each.get("UsageMode"),
            "aws_crl": bool((revocation.get("CrlConfiguration") or {}).get("Enabled")),
            "aws_ocsp": bool((revocation.get("OcspConfiguration") or {}).get("Enabled")),
            "aws_mark": mark,
        },
        has_certificate=each.get("Status") in _WITH_CERTIFICATE,
    )


SERVICE = Service(
    name="acm-pca",
    look=look,
    operations={
        "acm-pca": (
            "ListCertificateAuthorities",
            "GetCertificateAuthorityCertificate",
            *acm_pca_issued.OPERATIONS,
        ),
        "s3": ("GetObject",),
    },
    available_as="acm-pca",
)
