"""Application and network load balancers: each listener's certificates, the default one and those for other names."""

from collections.abc import Iterator, Mapping
from typing import Any

from certwatch.doors.aws import AWSError, Client
from certwatch.model.observation import Fact, Observation
from collectors.aws.place import name_of
from collectors.aws.region import Region, targets
from collectors.aws.service import Service

_WITH_TLS = ("HTTPS", "TLS")


def look(region: Region) -> Iterator[Observation]:
    client = region.client("elbv2")
    for page in client.pages("DescribeLoadBalancers", PaginationConfig={"PageSize": 400}):
        for each in page.get("LoadBalancers", ()):
            if each.get("Type") == "gateway":
                continue
            try:
                yield from _balancer(region, client, each)
            except AWSError as error:
                if not error.is_absent:
                    raise


def _balancer(region: Region, client: Client, each: Mapping[str, Any]) -> Iterator[Observation]:
    arn = str(each["LoadBalancerArn"])
    for page in client.pages("DescribeListeners", LoadBalancerArn=arn):
        for listener in page.get("Listeners", ()):
            if listener.get("Protocol") in _WITH_TLS:
                yield from _listener(region, client, each, listener)


def _listener(
    region: Region, client: Client, balancer: Mapping[str, Any], listener: Mapping[str, Any]
) -> Iterator[Observation]:
    default = next((str(each["CertificateArn"]) for each in listener.get("Certificates", ())), "")
    # The default one comes twice in it.
    every = {
        str(each["CertificateArn"])
        for page in client.pages("DescribeListenerCertificates", ListenerArn=listener["ListenerArn"])
        for each in page.get("Certificates", ())
    }
    arn, host, port = str(balancer["LoadBalancerArn"]), str(balancer["DNSName"]), int(listener["Port"])
    name = arn.partition(":loadbalancer/")[2] or name_of(arn)
    mutual = listener.get("MutualAuthentication") or {}
    facts: dict[str, Fact | None] = {
        "aws_scheme": balancer.get("Scheme"),
        "aws_security_policy": listener.get("SslPolicy"),
        "aws_trust_store": mutual.get("TrustStoreArn"),
        "aws_ignores_client_expiry": mutual.get("IgnoreClientCertificateExpiry"),
    }
    for certificate in sorted({default, *every} - {""}):
        held = region.held(certificate)
        region.used(certificate, arn)
        yield region.look(
            "elbv2",
            name,
            str(port),
            # The default's place stays the same when it is exchanged: a renewal is seen as one.
            part="" if certificate == default else name_of(certificate),
            arn=arn,
            chain=held.chain,
            error=held.error,
            facts={
                **facts,
                "aws_certificate": certificate,
                "aws_default": certificate == default,
                **targets(host, port, held.chain),
            },
        )


SERVICE = Service(
    name="elbv2",
    look=look,
    operations={
        "elbv2": ("DescribeLoadBalancers", "DescribeListeners", "DescribeListenerCertificates"),
        "acm": ("GetCertificate",),
        "iam": ("GetServerCertificate",),
    },
)
