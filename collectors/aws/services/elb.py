"""Classic load balancers: each listener that ends TLS."""

from collections.abc import Iterator

from certwatch.model.observation import Observation
from collectors.aws.region import Region, targets
from collectors.aws.service import Service

_WITH_TLS = ("HTTPS", "SSL")


def look(region: Region) -> Iterator[Observation]:
    for page in region.client("elb").pages("DescribeLoadBalancers", PaginationConfig={"PageSize": 400}):
        for each in page.get("LoadBalancerDescriptions", ()):
            name, host = str(each["LoadBalancerName"]), str(each.get("DNSName", ""))
            arn = (
                f"arn:{region.account.partition}:elasticloadbalancing:{region.name}:{region.account.id}:"
                f"loadbalancer/{name}"
            )
            for description in each.get("ListenerDescriptions", ()):
                listener = description.get("Listener") or {}
                certificate = str(listener.get("SSLCertificateId") or "")
                if listener.get("Protocol") not in _WITH_TLS or not certificate.startswith("arn:"):
                    continue
                held, port = region.held(certificate), int(listener["LoadBalancerPort"])
                region.used(certificate, arn)
                yield region.look(
                    "elb",
                    name,
                    str(port),
                    arn=arn,
                    chain=held.chain,
                    error=held.error,
                    facts={
                        "aws_scheme": each.get("Scheme"),
                        "aws_certificate": certificate,
                        **targets(host, port, held.chain),
                    },
                )


SERVICE = Service(
    name="elb",
    look=look,
    operations={
        "elb": ("DescribeLoadBalancers",),
        "acm": ("GetCertificate",),
        "iam": ("GetServerCertificate",),
    },
)
