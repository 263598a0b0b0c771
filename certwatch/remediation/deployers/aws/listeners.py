"""Listeners of load balancers that end TLS, over all regions: which certificates they have, and giving them another one."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from certwatch.plugins.deployer import DeployFailed
from certwatch.remediation.deployers.aws.access import HOME, ask, ask_with_certificate, pages

_ENABLED = ("ENABLED", "ENABLED_BY_DEFAULT")
_WITH_TLS = ("HTTPS", "SSL", "TLS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    region: str
    #: "elb" (classic) or "elbv2".
    service: str
    #: Name of a classic load balancer; "app/NAME/ID" of another.
    balancer: str
    port: int
    #: Of elbv2 alone.
    arn: str
    #: ARNs of its certificates.
    default: str
    #: Those for other names. The default one may be among them as well.
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.region}/{self.service}/{self.balancer}/{self.port}"

    @property
    def certificates(self) -> frozenset[str]:
        return frozenset((self.default, *self.others))


def users(account: Any, regions: Collection[str], certificates: Collection[str]) -> list[Listener]:
    """Of any of these ARNs, in these regions; none named: in all of the account. Raises DeployFailed: not all could be looked
    at."""
    wanted = frozenset(certificates)
    return [
        each
        for region in regions or _regions(account)
        for service in (_classic, _balancers)
        for each in service(account, region)
        if wanted & each.certificates
    ]


def _regions(account: Any) -> list[str]:
    asked = pages(account.client("account", HOME), "ListRegions", RegionOptStatusContains=list(_ENABLED))
    regions = [str(each["RegionName"]) for page in asked for each in page.get("Regions", ())]
    if not regions:
        raise DeployFailed("other", "account:ListRegions names no region at all", again=True)
    return regions


def listener_at(account: Any, service: str, region: str, balancer: str, port: int) -> Listener:
    """Raises DeployFailed: there is none."""
    if service == "elb":
        found = _classic(account, region, LoadBalancerNames=[balancer])
    else:
        arn = f"arn:{account.partition}:elasticloadbalancing:{region}:{account.id}:loadbalancer/{balancer}"
        found = _listeners(account.client("elbv2", region), region, arn)
    for each in found:
        if each.port == port:
            return each
    raise DeployFailed(
        "not-found", f"the load balancer has no listener that ends TLS at port {port} any more"
    )


def give(account: Any, listener: Listener, away: Collection[str], to: str) -> None:
    """`to` in place of those of `away` that it has; its other certificates stay. At no instant it is without one. Raises
    DeployFailed."""
    client = account.client(listener.service, listener.region)
    if listener.service == "elb":
        if listener.default in away:
            ask_with_certificate(
                client,
                "SetLoadBalancerListenerSSLCertificate",
                LoadBalancerName=listener.balancer,
                LoadBalancerPort=listener.port,
                SSLCertificateId=to,
            )
        return
    if listener.default in away:
        ask_with_certificate(
            client, "ModifyListener", ListenerArn=listener.arn, Certificates=[{"CertificateArn": to}]
        )
    gone = [each for each in listener.others if each in away]
    if gone:
        if to not in listener.others:
            ask_with_certificate(
                client,
                "AddListenerCertificates",
                ListenerArn=listener.arn,
                Certificates=[{"CertificateArn": to}],
            )
        ask(
            client,
            "RemoveListenerCertificates",
            ListenerArn=listener.arn,
            Certificates=[{"CertificateArn": each} for each in gone],
        )


def _classic(account: Any, region: str, **which: Any) -> Iterator[Listener]:
    for page in pages(account.client("elb", region), "DescribeLoadBalancers", **which):
        for each in page.get("LoadBalancerDescriptions", ()):
            for description in each.get("ListenerDescriptions", ()):
                listener = description.get("Listener") or {}
                if listener.get("Protocol") in _WITH_TLS:
                    yield Listener(
                        region=region,
                        service="elb",
                        balancer=str(each["LoadBalancerName"]),
                        port=int(listener["LoadBalancerPort"]),
                        arn="",
                        default=str(listener.get("SSLCertificateId") or ""),
                    )


def _balancers(account: Any, region: str) -> Iterator[Listener]:
    client = account.client("elbv2", region)
    for page in pages(client, "DescribeLoadBalancers"):
        for each in page.get("LoadBalancers", ()):
            if each.get("Type") != "gateway":
                yield from _listeners(client, region, str(each["LoadBalancerArn"]))


def _listeners(client: Any, region: str, balancer: str) -> Iterator[Listener]:
    for page in pages(client, "DescribeListeners", may_be_gone=True, LoadBalancerArn=balancer):
        for each in page.get("Listeners", ()):
            if each.get("Protocol") not in _WITH_TLS:
                continue
            arn = str(each["ListenerArn"])
            listed = [
                it
                for inner in pages(client, "DescribeListenerCertificates", may_be_gone=True, ListenerArn=arn)
                for it in inner.get("Certificates", ())
            ]
            yield Listener(
                region=region,
                service="elbv2",
                balancer=balancer.partition(":loadbalancer/")[2],
                port=int(each["Port"]),
                arn=arn,
                default=next((str(it["CertificateArn"]) for it in each.get("Certificates", ())), ""),
                others=tuple(str(it["CertificateArn"]) for it in listed if not it.get("IsDefault")),
            )
