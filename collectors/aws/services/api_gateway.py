"""API Gateway: custom domains of REST and HTTP APIs, and the client certificates that it shows to back ends."""

from collections.abc import Iterator, Mapping
from typing import Any

from certwatch.model.observation import Fact, Observation
from collectors.aws.region import Region, targets
from collectors.aws.service import Service

_PAGE = {"PageSize": 500}


def look(region: Region) -> Iterator[Observation]:
    seen = set()
    rest = region.client("apigateway")
    for page in rest.pages("GetDomainNames", PaginationConfig=_PAGE):
        for each in page.get("items") or ():
            seen.add(str(each["domainName"]).lower())
            yield _rest_domain(region, each)
    # Most domains are in both listings.
    for page in region.client("apigatewayv2").pages("GetDomainNames", PaginationConfig=_PAGE):
        for each in page.get("Items") or ():
            if str(each["DomainName"]).lower() not in seen:
                yield _http_domain(region, each)
    for page in rest.pages("GetClientCertificates", PaginationConfig=_PAGE):
        for each in page.get("items") or ():
            id = str(each["clientCertificateId"])
            yield region.look(
                "api-gateway",
                "client-certificate",
                id,
                arn=_arn(region, f"/clientcertificates/{id}"),
                chain=region.chain(each.get("pemEncodedCertificate")),
                facts={"aws_type": "CLIENT_CERTIFICATE"},
                tags=each.get("tags") or {},
                has_certificate=True,
            )


def _rest_domain(region: Region, each: Mapping[str, Any]) -> Observation:
    return _domain(
        region,
        str(each["domainName"]),
        certificate=str(each.get("regionalCertificateArn") or each.get("certificateArn") or ""),
        host=str(each.get("regionalDomainName") or each.get("distributionDomainName") or ""),
        status=each.get("domainNameStatus"),
        reason=each.get("domainNameStatusMessage"),
        policy=each.get("securityPolicy"),
        mutual=each.get("mutualTlsAuthentication") or {},
        trust_store="truststoreUri",
        tags=each.get("tags") or {},
    )


def _http_domain(region: Region, each: Mapping[str, Any]) -> Observation:
    set_up: Mapping[str, Any] = next(iter(each.get("DomainNameConfigurations") or ()), {})
    return _domain(
        region,
        str(each["DomainName"]),
        certificate=str(set_up.get("CertificateArn") or ""),
        host=str(set_up.get("ApiGatewayDomainName") or ""),
        status=set_up.get("DomainNameStatus"),
        reason=set_up.get("DomainNameStatusMessage"),
        policy=set_up.get("SecurityPolicy"),
        mutual=each.get("MutualTlsAuthentication") or {},
        trust_store="TruststoreUri",
        tags=each.get("Tags") or {},
    )


def _domain(
    region: Region,
    name: str,
    *,
    certificate: str,
    host: str,
    status: Fact,
    reason: Fact,
    policy: Fact,
    mutual: Mapping[str, Any],
    trust_store: str,
    tags: Mapping[str, str],
) -> Observation:
    held = region.held(certificate)
    arn = _arn(region, f"/domainnames/{name}")
    region.used(certificate, arn)
    return region.look(
        "api-gateway",
        name,
        arn=arn,
        chain=held.chain,
        error=held.error,
        facts={
            "aws_status": status,
            "aws_status_reason": reason or None,
            "aws_certificate": certificate or None,
            "aws_security_policy": policy,
            "aws_trust_store": mutual.get(trust_store),
            **(targets(host or name, 443, held.chain, [name])),
        },
        tags=tags,
    )


def _arn(region: Region, path: str) -> str:
    return f"arn:{region.account.partition}:apigateway:{region.name}::{path}"


SERVICE = Service(
    name="api-gateway",
    look=look,
    operations={
        "apigateway": ("GetDomainNames", "GetClientCertificates"),
        "apigatewayv2": ("GetDomainNames",),
        "acm": ("GetCertificate",),
        "iam": ("GetServerCertificate",),
    },
)
