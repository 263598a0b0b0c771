"""What a location of AWS is: `aws://ACCOUNT/REGION/SERVICE/…`."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from certwatch.plugins.deployer import Target

Store = Literal["acm", "iam", "listener"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`store`: what must be changed for another certificate to be there."""

    store: Store
    account: str
    region: str
    #: Of the certificate in ACM; name of the one in IAM.
    id: str = ""
    #: "elb" or "elbv2", and the load balancer as the listener's ARN has it, without its port.
    service: str = ""
    balancer: str = ""
    port: int = 0
    #: Name of a certificate beside the default one. Empty: the default one.
    part: str = ""


def place_of(target: Target) -> Place | None:
    """None: nothing that can be changed here. What uses a certificate of ACM goes on with its ARN, so that it is ACM where it is
    replaced."""
    parts = urlsplit(target.uri)
    if parts.scheme != "aws":
        return None
    account, region, service, *rest = [unquote(each) for each in f"{parts.netloc}{parts.path}".split("/")] + [
        ""
    ] * 3
    rest = [each for each in rest if each]
    part = unquote(parts.fragment)
    if service in ("acm", "iam"):
        if len(rest) != 1 or part:
            return None
        return Place(store="acm" if service == "acm" else "iam", account=account, region=region, id=rest[0])
    used = str(target.served.facts.get("aws_certificate") or "").split(":", 5)
    if used[0] != "arn" or len(used) < 6:
        return None
    if used[2] == "acm" and used[4] == account:
        id = used[5].rpartition("/")[2]
        return Place(store="acm", account=account, region=used[3], id=id)
    if used[2] != "iam" or service not in ("elb", "elbv2") or len(rest) < 2 or not rest[-1].isdecimal():
        return None
    return Place(
        store="listener",
        account=account,
        region=region,
        service=service,
        balancer="/".join(rest[:-1]),
        port=int(rest[-1]),
        part=part,
    )
